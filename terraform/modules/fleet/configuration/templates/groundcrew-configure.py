#!/usr/bin/python3
"""Writes the agent's configuration: its template, with secrets in the place of their names.

Run it again after a secret was changed, then let the agent and the tier take it:
    groundcrew-configure && systemctl reload groundcrew && groundcrew restart TIER
"""

import json
import os
import re
import shutil
import subprocess
import sys

DIRECTORY = os.environ.get("GROUNDCREW_CONFIGURATION", "/etc/groundcrew")
NAME = re.compile(r'"\{\{secret (\S+) (\S+)\}\}"')


def fetch(arn):
    """The text of a secret."""
    region = arn.split(":")[3]
    command = ["aws", "secretsmanager", "get-secret-value", "--region", region,
               "--secret-id", arn, "--query", "SecretString", "--output", "json"]
    answer = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=True)
    text = json.loads(answer.stdout)
    if text is None:
        sys.exit(f"groundcrew-configure: {arn} holds no text")
    return text


def value(secrets, arn, member):
    """What stands in the place of a name, as TOML writes it."""
    if arn not in secrets:
        secrets[arn] = fetch(arn)
    text = secrets[arn]
    if member != "-":
        text = json.loads(text).get(member)
        if text is None:
            sys.exit(f"groundcrew-configure: {arn} has no member {member}")
        text = str(text)
    # JSON's strings are TOML's, but for one character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def main():
    secrets = {}
    with open(f"{DIRECTORY}/groundcrew.toml.in", encoding="utf-8") as file:
        template = file.read()
    text = NAME.sub(lambda found: value(secrets, *found.groups()), template)
    new = f"{DIRECTORY}/groundcrew.toml.new"
    # Before there is anything in it, nobody but root can read it.
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    # The agent would refuse it at its start; better to keep the one that it has.
    # In /usr/bin from the package, in /usr/local/bin where it was put by hand.
    groundcrew = os.environ.get("GROUNDCREW") or shutil.which("groundcrew")
    if not groundcrew:
        sys.exit("groundcrew-configure: there is no groundcrew in PATH")
    if subprocess.run([groundcrew, "check", "--config", new], check=False).returncode != 0:
        sys.exit(f"groundcrew-configure: {new} is refused, and {DIRECTORY}/groundcrew.toml stays")
    os.replace(new, f"{DIRECTORY}/groundcrew.toml")


if __name__ == "__main__":
    main()
