"""Holds the pipelines of docs/pipelines against each other and against the agent: what schemas cannot know.

    check.py PIPELINES GROUNDCREW
"""

import pathlib
import re
import subprocess
import sys

import ruamel.yaml

PIPELINES = pathlib.Path(sys.argv[1])
GROUNDCREW = sys.argv[2]
problems = []


def problem(place, text):
    problems.append(f"{place}: {text}")


class Yaml(ruamel.yaml.YAML):
    """With GitLab's own tag, which names other places of the document."""

    def __init__(self):
        super().__init__(typ="safe")
        self.constructor.add_constructor("!reference", lambda loader, node: loader.construct_sequence(node))


def read(name):
    return Yaml().load(PIPELINES / name)


def help_of(*words):
    return subprocess.run([GROUNDCREW, *words, "--help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)


def commands():
    """Every command of groundcrew in the files: place, words."""
    for path in sorted(PIPELINES.rglob("*")):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8").replace("\\\n", " ")
        for number, line in enumerate(text.splitlines(), 1):
            # Behind a prompt, a shell's keyword, a backtick, or at the beginning of a command.
            for found in re.finditer(r'(?:^|[`;&|(]|\bthen|\bdo|\belse|run:|-|\$)\s*groundcrew ((?:[a-z]|--)[^`|;&)\n]*)', line):
                if path.name == "README.md" and "`" not in line and not line.startswith(("    ", "groundcrew")):
                    continue
                yield f"{path.name}:{number}", found.group(1).split()


def check_commands():
    seen = set()
    for place, words in commands():
        command = words[0]
        answer = help_of(command)
        if answer.returncode != 0 or not re.search(rf"Usage: groundcrew {command}\b", answer.stdout):
            problem(place, f"groundcrew has no command {command}")
            continue
        seen.add(command)
        for flag in (word.split("=")[0].strip('"') for word in words if word.startswith("--")):
            if not re.search(rf"(^|\s){re.escape(flag)}\b", answer.stdout):
                problem(place, f"groundcrew {command} has no {flag}")
        for flag in re.findall(r"^Usage: .*", answer.stdout, re.MULTILINE)[:1]:
            for required in re.findall(r"(?<!\[)(--[a-z-]+) <", flag):
                if required not in " ".join(words):
                    problem(place, f"groundcrew {command} needs {required}")
    for command in ("publish", "promote", "rollback"):
        if command not in seen:
            problem("docs/pipelines", f"nothing calls groundcrew {command}: the search finds too little")


def check_scripts():
    """Each script that is called is there, and each that is there is called."""
    called = set()
    for path in PIPELINES.glob("*.yml"):
        for name in re.findall(r"\bci/([a-z]+)\b", path.read_text(encoding="utf-8")):
            called.add(name)
            if not (PIPELINES / "ci" / name).is_file():
                problem(path.name, f"there is no ci/{name}")
    for path in (PIPELINES / "ci").iterdir():
        text = path.read_text(encoding="utf-8")
        called.update(re.findall(r'\$here/([a-z]+)"', text))
        if not path.stat().st_mode & 0o100:
            problem(path.name, "is not executable")
    for path in (PIPELINES / "ci").iterdir():
        if path.name not in called:
            problem(f"ci/{path.name}", "is called by nobody")


def check_secrets():
    """AWS is asked with a token of the job: no key is stored, and none is named."""
    for path in PIPELINES.glob("*.yml"):
        for word in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "aws-access-key-id"):
            if word in path.read_text(encoding="utf-8"):
                problem(path.name, f"names {word}")


def reach(name, needs, found=None):
    """All that comes before a job."""
    found = set() if found is None else found
    for other in needs.get(name, ()):
        if other not in found:
            found.add(other)
            reach(other, needs, found)
    return found


def as_list(value):
    return [value] if isinstance(value, str) else list(value or [])


def check_gitlab():
    file, document = "gitlab-ci.yml", read("gitlab-ci.yml")
    jobs = {name: job for name, job in document.items() if isinstance(job, dict) and not name.startswith(".")
            and name not in ("workflow", "variables", "default")}

    def whole(name):
        job = dict(document[name])
        for parent in as_list(job.get("extends")):
            if parent not in document:
                problem(f"{file} {name}", f"extends {parent}, which is not there")
                continue
            job = {**whole(parent), **job}
        return job

    stages = document["stages"]
    needs = {}
    for name in jobs:
        job = whole(name)
        if job.get("stage") not in stages:
            problem(f"{file} {name}", f"stage {job.get('stage')} is not among the stages")
            continue
        if "needs" in job:
            needs[name] = as_list(job["needs"])
        else:
            before = stages[:stages.index(job["stage"])]
            needs[name] = [other for other in jobs if whole(other).get("stage") in before]
        for other in needs[name]:
            if other not in jobs:
                problem(f"{file} {name}", f"needs {other}, which is not there")
        if not job.get("script"):
            problem(f"{file} {name}", "has no script")
    checks = {"lint", "unit", "ui", "e2e", "dependencies", "secrets"}
    for name in checks:
        if whole(name)["stage"] != "check" or jobs[name].get("needs"):
            problem(f"{file} {name}", "is not one of the checks that run at once")
    for name in ("publish:production", "apply:staging", "apply:production", "rollback:staging", "rollback:production"):
        if not all(rule.get("when") == "manual" for rule in whole(name)["rules"]):
            problem(f"{file} {name}", "does not wait for a person")
    if not (checks | {"accepted", "build"}) <= reach("publish:production", needs):
        problem(f"{file} publish:production", "does not wait for all checks and for staging")
    if "e2e:staging" not in reach("mark:staging", needs):
        problem(f"{file} mark:staging", "does not wait for staging's tests")
    for environment in ("staging", "production"):
        group = whole(f"publish:{environment}").get("resource_group")
        if not group or group != whole(f"rollback:{environment}").get("resource_group"):
            problem(file, f"publish and rollback of {environment} could run at once")


def check_github():
    file, jobs = "github-actions.yml", read("github-actions.yml")["jobs"]
    needs = {name: as_list(job.get("needs")) for name, job in jobs.items()}
    for name, others in needs.items():
        for other in others:
            if other not in jobs:
                problem(f"{file} {name}", f"needs {other}, which is not there")
    if not {"lint", "unit", "browser", "dependencies", "secrets", "build", "accepted"} <= reach("production", needs):
        problem(f"{file} production", "does not wait for all checks and for staging")
    if set(jobs["browser"]["strategy"]["matrix"]["suite"]) != {"ui", "e2e"}:
        problem(f"{file} browser", "does not run both suites")
    for name, environment in (("staging", "staging"), ("production", "production"), ("apply", "infrastructure")):
        job = jobs[name]
        found = job.get("environment")
        found = found["name"] if isinstance(found, dict) else found
        if found != environment or job.get("concurrency", {}).get("cancel-in-progress") is not False:
            problem(f"{file} {name}", "has not the environment that reviewers are asked for, or is cut short")
    for name, job in jobs.items():
        # GitHub gives a token to who asks for it, and AWS looks at the environment.
        uses_role = any("configure-aws-credentials" in step.get("uses", "") for step in job["steps"])
        asks = job.get("permissions", {}).get("id-token") == "write"
        if uses_role != asks:
            problem(f"{file} {name}", "a role needs id-token: write, and nothing else does")
        if uses_role and name != "proposal" and not job.get("environment"):
            problem(f"{file} {name}", "has no environment: the role's trust would not know it")
        for step in job["steps"]:
            if "${{ inputs." in step.get("run", "") or "${{ github." in step.get("run", ""):
                problem(f"{file} {name}", "puts what others have written into a script")
            action = step.get("uses", "")
            if action and "@" not in action:
                problem(f"{file} {name}", f"{action} has no version")


def check_circleci():
    file, document = "circleci.yml", read("circleci.yml")
    for workflow, content in document["workflows"].items():
        entries = {}
        for entry in content["jobs"]:
            job, settings = next(iter(entry.items())) if isinstance(entry, dict) else (entry, {})
            if settings.get("type") != "approval" and job not in document["jobs"]:
                problem(f"{file} {workflow}", f"job {job} is not there")
            names = [settings.get("name", job)]
            for value in settings.get("matrix", {}).get("parameters", {}).get("environment", []):
                names.append(settings["name"].replace("<< matrix.environment >>", value))
            for name in names:
                entries[name] = settings
        needs = {name: as_list(settings.get("requires")) for name, settings in entries.items()}
        for name, others in needs.items():
            for other in others:
                if other not in entries:
                    problem(f"{file} {workflow} {name}", f"requires {other}, which is not there")
                # A job that a filter leaves out never ends, and what requires it never begins.
                mine, its = (entries[which].get("filters", {}) for which in (name, other))
                if mine.get("tags") and not its.get("tags"):
                    problem(f"{file} {workflow} {name}", f"runs for tags, and requires {other}, which does not")
        if workflow == "pipeline":
            before = reach("publish_production", needs)
            if not {"lint", "unit", "ui", "e2e", "dependencies", "secrets", "build", "accepted", "approve_production"} <= before:
                problem(f"{file} publish_production", f"waits only for {sorted(before)}")
            if "e2e_staging" not in reach("mark_staging", needs):
                problem(f"{file} mark_staging", "does not wait for staging's tests")
        for name, settings in entries.items():
            if name.startswith("apply") and not any(entries[other].get("type") == "approval" for other in needs[name]):
                problem(f"{file} {name}", "does not wait for a person")


check_commands()
check_scripts()
check_secrets()
check_gitlab()
check_github()
check_circleci()
for text in problems:
    print(f"tests/pipelines: {text}", file=sys.stderr)
sys.exit(1 if problems else 0)
