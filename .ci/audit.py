"""`make audit`: asks OSV (https://osv.dev) which known vulnerabilities the locked packages have.

Exit code 0: none that a newer version mends, but for those in `audit-allow.txt`; 1: some; 3: OSV could not be asked.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PIP_AUDIT = "pip-audit==2.10.1"
LOCKS = [
    Path(__file__).parents[1] / f"requirements{name}.lock" for name in ("", "-exports", "-train")
]  # the others are parts of the first
ALLOWED = Path(__file__).with_name(
    "audit-allow.txt"
)  # a line each: a vulnerability's id, and why it does not matter here
UNREACHABLE = 3


def report() -> list[dict[str, Any]] | str:
    """What OSV knows of each locked package, or why it could not be asked."""
    uv = Path(sys.executable).with_name("uv")
    options = ["--disable-pip", "--no-deps", "--vulnerability-service", "osv", "--format", "json"]
    locks = [option for lock in LOCKS for option in ("-r", lock)]
    command = [uv, "tool", "run", PIP_AUDIT, *locks, *options, "--progress-spinner", "off"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages: list[dict[str, Any]] = json.loads(run.stdout)["dependencies"]
    except ValueError:
        return (run.stderr.strip().splitlines() or ["it said nothing"])[-1]
    # pip-audit passes over what it could not ask about, and calls that "no known vulnerabilities".
    skipped = [package for package in packages if "skip_reason" in package]
    return f"{len(skipped)} of {len(packages)} packages are not known there" if skipped else packages


def allowed() -> dict[str, str]:
    """The ids of vulnerabilities that do not matter here, and why."""
    lines = [line.partition(" ") for line in ALLOWED.read_text().splitlines() if line and not line.startswith("#")]
    if missing := [name for name, _, reason in lines if not reason.strip()]:
        raise SystemExit(f"{ALLOWED.name}: no reason is given for {', '.join(missing)}.")
    return {name: reason.strip() for name, _, reason in lines}


def main() -> int:
    """Print what was found; returns the exit code."""
    packages, known = report(), allowed()
    if isinstance(packages, str):
        print(f"audit: nothing is known of vulnerabilities, since OSV could not be asked: {packages}.")
        return UNREACHABLE
    found = [(package, each) for package in packages for each in package["vulns"]]
    open_ones = 0
    for package, each in found:
        fixes, reason = ", ".join(each["fix_versions"]), next((known[i] for i in names(each) if i in known), None)
        open_ones += bool(fixes) and reason is None
        verdict = f"allowed: {reason}" if reason else f"mended in {fixes}" if fixes else "no version mends it yet"
        print(f"audit: {package['name']} {package['version']}: {each['id']}, {verdict}.")
    print(f"audit: {len(packages)} packages, {len(found)} known vulnerabilities, {open_ones} to be mended.")
    return int(open_ones > 0)


def names(vulnerability: dict[str, Any]) -> list[str]:
    """The ids under which it is known, such as CVE-2026-1 and GHSA-...."""
    return [vulnerability["id"], *vulnerability["aliases"]]


if __name__ == "__main__":
    sys.exit(main())
