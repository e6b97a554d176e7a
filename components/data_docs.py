"""Data docs: a verdict on a batch of digits as one HTML page that opens by itself, and as lines for a terminal."""

from html import escape
from string import Template
from typing import Any

from components.expectations import Finding, Verdict

MOST_LINES = 20  # in a terminal
MOST_ROWS = 5_000  # on the page

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 70rem; padding: 0 1rem; color: #222;
       background: #fff }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 2rem }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #ddd; vertical-align: top;
         overflow-wrap: anywhere }
.good { color: #1a7f37 }
.bad { color: #b42318; font-weight: 600 }
"""


def page(verdict: Verdict, title: str) -> str:
    """The page: every expectation in Great Expectations' own words, what was observed, and every offending file."""
    failed = sum(not result.success for result in verdict.results)
    checks = "\n".join(_check(result) for result in verdict.results)
    rows = [finding for findings in verdict.findings for finding in findings]
    answer = f'<p class="bad">{failed} of {len(verdict.results)} expectations failed; the batch was stopped.</p>'
    if verdict.success:
        answer = f'<p class="good">All {len(verdict.results)} expectations met.</p>'
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style></head>
<body><h1>{escape(title)}</h1>
{answer}
<table><thead><tr><th>met</th><th>expectation</th><th>observed</th></tr></thead><tbody>
{checks}
</tbody></table>
{_offenders(rows)}
</body></html>
"""


def _check(result: Any) -> str:  # noqa: ANN401
    result.render()
    mark = '<td class="good">yes</td>' if result.success else '<td class="bad">no</td>'
    expected = _text(result.expectation_config.rendered_content)
    observed = _text(result.rendered_content)
    return f"<tr>{mark}<td>{escape(expected)}</td><td>{escape(observed)}</td></tr>"


def _text(contents: list[Any]) -> str:
    values = [content.to_json_dict()["value"] for content in contents]
    parts = []
    for value in values:
        params = {name: param["value"] for name, param in (value.get("params") or {}).items()}
        parts.append(Template(value.get("template") or "").safe_substitute(params))
    return "; ".join(part for part in parts if part)


def _offenders(findings: list[Finding]) -> str:
    if not findings:
        return ""
    shown = findings[:MOST_ROWS]
    rows = "\n".join(f"<tr><td>{escape(each.file)}</td><td>{escape(each.reason)}</td></tr>" for each in shown)
    more = f"<p>... and {len(findings) - len(shown):,} more.</p>" if len(findings) > len(shown) else ""
    return f"""<h2>Offending files and rows ({len(findings):,})</h2>
<table><thead><tr><th>file or row</th><th>reason</th></tr></thead><tbody>
{rows}
</tbody></table>{more}"""


def lines(verdict: Verdict, report: str) -> str:
    """The findings for a terminal: some of every kind, at most about 20 lines, then where the rest is."""
    each_kind = max(1, MOST_LINES // max(1, len(verdict.findings)))
    shown = [finding for findings in verdict.findings for finding in findings[:each_kind]]
    left = sum(len(findings) for findings in verdict.findings) - len(shown)
    said = [f"  {finding.file}: {finding.reason}" for finding in shown]
    return "\n".join([*said, f"  ... and {left:,} more, see {report}" if left else f"  All are in {report}"])
