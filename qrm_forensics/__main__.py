"""``python -m qrm_forensics`` is the same as the ``qrm-forensics`` command."""

from qrm_forensics.cli import main

if __name__ == "__main__":
    main()
