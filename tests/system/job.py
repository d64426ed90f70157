"""Prints the commands of a job of docs/pipelines/gitlab-ci.yml as bash, with the variables that the job sets.

    job.py GITLAB_CI_YML JOB

What comes before the script (installing packages, taking a role) is GitLab's and AWS's, and left out.
"""

import shlex
import sys

import yaml


class Loader(yaml.SafeLoader):
    """With GitLab's own tag, which names other places of the document."""


Loader.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))


def resolve(jobs, name):
    """The job, with what it extends."""
    job = jobs[name]
    base = resolve(jobs, job["extends"]) if "extends" in job else {}
    variables = {**base.get("variables", {}), **job.get("variables", {})}
    return {**base, **job, "variables": variables}


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        jobs = yaml.load(file, Loader)
    job = resolve(jobs, sys.argv[2])
    print("set -euo pipefail")
    for name, value in job["variables"].items():
        # GitLab fills in its own variables; the role and its token are AWS's, whom nobody asks here.
        if not name.startswith("AWS_"):
            print(f"export {name}={value if value.startswith('$') else shlex.quote(value)}")
    print("\n".join(job["script"]))


main()
