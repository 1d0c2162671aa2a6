"""How long a response is, in words, characters, tokens and steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from qrm_forensics.metrics.protocol import Column, Show, metric, rows, said


def count_steps(text: str) -> int:
    """Blocks of lines that hold something, separated by lines that hold only whitespace."""
    steps, inside = 0, False
    for line in text.split("\n"):
        blank = not line or line.isspace()
        steps += not blank and not inside
        inside = not blank
    return steps


def _measure(
    text: str, completion_tokens: int | None, token_ids: Sequence[int] | None
) -> tuple[int, int, int | None, int]:
    tokens = len(token_ids) if completion_tokens is None and token_ids is not None else completion_tokens
    return len(text.split()), len(text), tokens, count_steps(text)


@metric(
    version=1,
    reads=("text", "completion_tokens", "token_ids"),
    title=said("Length", "길이"),
    columns=(
        Column(
            "n_words",
            pa.int64(),
            Show.HISTOGRAM,
            unit="words",
            label=said("Words", "단어 수"),
            definition=said(
                "Number of maximal stretches of the response, thinking included, that hold no whitespace.",
                "사고 과정을 포함한 응답을 공백으로 나눈 단어의 개수.",
            ),
        ),
        Column(
            "n_chars",
            pa.int64(),
            Show.HISTOGRAM,
            unit="characters",
            label=said("Characters", "문자 수"),
            definition=said(
                "Number of Unicode code points in the response, whitespace included.",
                "공백을 포함한 응답의 유니코드 코드 포인트 개수.",
            ),
        ),
        Column(
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
        ),
        Column(
            "n_steps",
            pa.int64(),
            Show.HISTOGRAM,
            unit="steps",
            label=said("Steps", "풀이 단계 수"),
            definition=said(
                "Number of blocks of text that are separated by one or more blank lines.",
                "하나 이상의 빈 줄로 구분된 텍스트 블록의 개수.",
            ),
        ),
    ),
)
def length(batch: pa.Table) -> Mapping[str, Sequence[object]]:
    """Length of the whole response, everything after the prompt.

    ``n_words`` and ``n_chars`` are ``word_count`` and ``char_count`` of the reference study.
    """
    return rows(batch, ("n_words", "n_chars", "n_tokens", "n_steps"), _measure)
