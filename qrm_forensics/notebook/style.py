"""The style of what notebooks show: the host's own colours where it names them, so that light and dark both work."""

from __future__ import annotations

#: Tints lie over whatever ground the host has; nothing here needs a script or the network.
STYLE = """
.qrm { --ink: var(--jp-content-font-color1, var(--vscode-editor-foreground, currentColor));
  --soft: var(--jp-content-font-color2, var(--vscode-descriptionForeground, currentColor));
  --line: var(--jp-border-color2, rgb(128 135 147 / 35%)); --sunk: rgb(128 135 147 / 10%);
  --mono: var(--jp-code-font-family, ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", "Noto Sans Mono CJK KR", monospace);
  color: var(--ink); font-size: 13px; line-height: 1.5; max-width: 100%; }
.qrm h3 { font-size: 1.15em; margin: 0 0 .3em; } .qrm h4 { font-size: 1em; margin: 1.2em 0 .35em; }
.qrm p { margin: .2em 0; } .qrm .note { color: var(--soft); }
.qrm .question { white-space: pre-wrap; overflow-wrap: anywhere; border-left: 3px solid var(--line); padding: .2em 0 .2em .8em; margin: .4em 0; max-height: 16em; overflow: auto; }
.qrm table { border-collapse: collapse; margin: .3em 0; font-size: 1em; } .qrm .scroll { overflow-x: auto; }
.qrm th, .qrm td { text-align: left; padding: .25em .8em; border: 0; border-bottom: 1px solid var(--line); vertical-align: top; background: none; max-width: 28em; overflow-wrap: anywhere; white-space: normal; }
.qrm th[scope=row] { font-weight: normal; color: var(--soft); white-space: nowrap; } .qrm td.n { text-align: right; font-variant-numeric: tabular-nums; }
.qrm code, .qrm .name { font-family: var(--mono); font-size: .95em; color: inherit; background: none; }
.qrm .time { display: grid; grid-template-columns: max-content 1fr; gap: .25em .8em; align-items: center; }
.qrm .axis { position: relative; height: 1.7em; }
.qrm .axis > div { position: relative; height: 100%; background: var(--sunk); border-radius: 3px; min-width: 2px; }
.qrm .axis .loop { position: absolute; top: 0; bottom: 0; background: rgb(213 94 0 / 32%); border-radius: 3px; }
.qrm .axis .event { position: absolute; top: 0; transform: translateX(-50%); line-height: 1.7em; font-weight: bold; cursor: default; }
.qrm .legend { color: var(--soft); margin-top: .4em; } .qrm .legend span { margin-right: 1.1em; white-space: nowrap; }
.qrm .legend b { color: var(--ink); }
.qrm .event.first_correct { color: #009e73; } .qrm table.parting td { max-width: 60em; }
.qrm .side { display: grid; grid-auto-flow: column; grid-auto-columns: minmax(22em, 1fr); gap: 0 1.2em; overflow-x: auto; }
.qrm .side > section { min-width: 0; } .qrm .side h5 { margin: .2em 0; font-size: 1em; font-family: var(--mono); }
.qrm .text { white-space: pre-wrap; overflow-wrap: anywhere; font-family: var(--mono); font-size: 12px; line-height: 1.5; max-height: 34em; overflow: auto; border: 1px solid var(--line); border-radius: 4px; padding: .6em .8em; }
.qrm mark { color: inherit; background: none; } .qrm mark.loop { background: rgb(213 94 0 / 15%); }
.qrm mark.correct { background: rgb(0 158 115 / 25%); } .qrm mark.false_equation { background: rgb(230 159 0 / 30%); text-decoration: underline wavy #b07a00; }
.qrm mark.forced { background: repeating-linear-gradient(135deg, rgb(128 135 147 / 14%) 0 3px, rgb(128 135 147 / 45%) 3px 4px); outline: 1px dashed var(--soft); }
.qrm mark.gibberish { background: rgb(204 121 167 / 30%); }
.qrm details { display: inline; } .qrm details > summary { display: inline; cursor: pointer; color: var(--soft); border: 1px dashed #d55e00; border-radius: 3px; padding: 0 .4em; font-family: var(--jp-ui-font-family, system-ui, sans-serif); }
.qrm details.shared { display: block; margin: .3em 0; } .qrm details.shared > summary { border-color: var(--line); }
.qrm .control { border: 1px solid var(--line); border-radius: 2px; font-size: .8em; padding: 0 .15em; color: var(--soft); }
.qrm .charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20em, 1fr)); gap: .8em 1.6em; }
.qrm svg.chart { width: 100%; height: 7em; overflow: visible; border-left: 1px solid var(--line); border-bottom: 1px solid var(--line); }
.qrm figure { margin: 0; } .qrm figcaption { color: var(--soft); }
.qrm .swatch { display: inline-block; width: 1.6em; height: 0; border-top: 2px solid; vertical-align: middle; margin-right: .4em; }
"""
