"""How long a response is, in words, characters, tokens and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from qrm_forensics.metrics.figures import Row, figures
from qrm_forensics.metrics.protocol import Column, Show, metric, said
from qrm_forensics.metrics.scan import Scan
from qrm_forensics.metrics.surface import layout

_WORDS = Column(
    "n_words",
    pa.int64(),
    Show.HISTOGRAM,
    unit="words",
    label=said("Words", "단어 수"),
    definition=said(
        "Number of maximal stretches of the response, thinking included, that hold no whitespace.",
        "사고 과정을 포함한 응답을 공백으로 나눈 단어의 개수.",
    ),
)
_CHARS = Column(
    "n_chars",
    pa.int64(),
    Show.HISTOGRAM,
    unit="characters",
    label=said("Characters", "문자 수"),
    definition=said(
        "Number of Unicode code points in the response, whitespace included.",
        "공백을 포함한 응답의 유니코드 코드 포인트 개수.",
    ),
)
_TOKENS = Column(
    "n_tokens",
    pa.int64(),
    Show.HISTOGRAM,
    unit="tokens",
    label=said("Tokens", "토큰 수"),
    definition=said(
        "Number of tokens that the model generated, the end token included; empty where the source does not say.",
        "종료 토큰을 포함해 모델이 생성한 토큰의 개수이며, 원본에 기록이 없으면 비워 둔다.",
    ),
    nullable_when="neither the token count nor the token ids are known",
)
_STEPS = Column(
    "n_steps",
    pa.int64(),
    Show.HISTOGRAM,
    unit="steps",
    label=said("Steps", "풀이 단계 수"),
    definition=said(
        "Number of blocks of text that are separated by one or more blank lines.",
        "하나 이상의 빈 줄로 구분된 텍스트 블록의 개수.",
    ),
)
_PSEUDO = Column(
    "n_pseudo_tokens",
    pa.int64(),
    Show.HIDDEN,
    unit="pseudo-tokens",
    label=said("Pseudo-tokens", "의사 토큰 수"),
    definition=said(
        "Number of pseudo-tokens (LaTeX command, run of letters, single digit, or any other character; whitespace dropped), "
        "which stand in for tokens where the model's are not known.",
        "의사 토큰(LaTeX 명령, 연속한 글자, 숫자 한 자리, 그 밖의 문자 하나; 공백 제외)의 개수로, 모델의 토큰 수를 모를 때 대신 쓴다.",
    ),
)


def _measure(scan: Scan, row: Row) -> None:
    row[0] = len(scan.words.ids)
    row[1] = scan.n_chars
    row[2] = len(layout(scan).blocks)
    row[3] = len(scan.tokens.ids)


@metric(
    version=2,
    reads=("text", "completion_tokens", "token_ids"),
    title=said("Length", "길이"),
    columns=(_WORDS, _CHARS, _TOKENS, _STEPS, _PSEUDO),
)
def length(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Length of the whole response, everything after the prompt.

    ``n_words`` and ``n_chars`` are ``word_count`` and ``char_count`` of the reference study.
    """
    found = figures(batch, (_WORDS, _CHARS, _STEPS, _PSEUDO), _measure)
    tokens = pc.coalesce(
        pc.cast(batch.column("completion_tokens"), pa.int64()),
        pc.cast(pc.list_value_length(batch.column("token_ids")), pa.int64()),
    )
    return found | {"n_tokens": pc.if_else(pc.is_valid(batch.column("text")), tokens, pa.scalar(None, pa.int64()))}
