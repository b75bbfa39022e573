"""The common part of the push commands: options, the dry run, the upload, and messages of failures.

After a push, a repository has the files of the folder and no others. Files that it already has, by digest, are not sent
again. So a push can be repeated, also after a failure.
"""

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from huggingface_hub import HfApi, SpaceCard
from huggingface_hub.utils import validate_repo_id

from abc_hf.common.hub import check_token, sentence
from hub.cards import kind_and_name

COLD = Path(__file__).parent / "cold.py"


def parser_of(name: str, text: str) -> argparse.ArgumentParser:
    """A parser of the options that all push commands have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m hub.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repo", required=True, metavar="USER/NAME", help="the repository on the Hub")
    parser.add_argument("--yes", action="store_true", help="upload; without it, the files are only checked and listed")
    parser.add_argument("--private", action="store_true", help="the repository, if it is new, is private")
    parser.add_argument("--revision", help="a branch, made if need be, or refs/pr/NUMBER of an open pull request")
    parser.add_argument("--create_pr", "--create-pr", action="store_true", help="open a pull request")
    parser.add_argument(
        "--links",
        nargs="+",
        default=[],
        metavar="REPO",
        help="the repositories that belong to it, as in addresses of the Hub: USER/NAME is a model, datasets/USER/NAME "
        "and spaces/USER/NAME are the others; the card links to them",
    )
    parser.add_argument("--out", type=Path, help="keep the folder that is uploaded here; it must not exist")
    return parser


def push(kind: str, parser: argparse.ArgumentParser, build: Callable, argv: list[str] | None) -> None:
    """Run a push command: build the folder and check it (`build(args, folder)`), list it, and upload it with `--yes`.

    The token is that of HF_TOKEN or `hf auth login`, as for every client of the Hub. If something is wrong, the program
    ends with one sentence. The token is never in it.
    """
    args = parser.parse_args(argv)
    try:
        check_options(args)
        with folder_for(args.out) as folder:
            new = args.yes and is_new(kind, args)  # find mistakes before the work, which takes minutes
            build(args, folder)
            print(listing(kind, args.repo, folder))
            if args.yes:
                print(upload(folder, kind, args, new))
            else:
                print("Nothing was uploaded: this is a dry run; --yes uploads.")
    except Exception as error:
        said = sentence(error, args.repo)
        if said is None:
            raise
        sys.exit(f"{parser.prog}: {said}")


def check_options(args: argparse.Namespace) -> None:
    if args.repo.count("/") != 1:
        raise ValueError(f"--repo must be USER/NAME; got {args.repo!r}.")
    for name in (args.repo, *(kind_and_name(link)[1] for link in args.links)):
        if name.count("/") != 1:
            raise ValueError(f"--links must be USER/NAME, datasets/USER/NAME or spaces/USER/NAME; got {name!r}.")
        validate_repo_id(name)
    if args.create_pr and args.revision:
        raise ValueError(
            "--create_pr opens a pull request to main; leave out --revision, or give --revision refs/pr/NUMBER alone "
            "to add to one that is open."
        )
    if args.out is not None and args.out.exists():
        raise ValueError(f"{args.out} exists; choose another --out, or remove it.")


@contextlib.contextmanager
def folder_for(out: Path | None) -> Iterator[Path]:
    """A folder that does not exist yet: `out`, or a temporary one that is removed at the end."""
    with tempfile.TemporaryDirectory() as made:
        yield Path(made) / "folder" if out is None else out


def files_in(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def listing(kind: str, repo: str, folder: Path) -> str:
    """The list of files to upload, with sizes."""
    sizes = {name: path.stat().st_size for name, path in files_in(folder).items()}
    lines = [f"{-(-size // 1000):>9,} kB  {name}" for name, size in sizes.items()]
    return "\n".join([f"{kind} {repo}: {len(sizes)} files, {sum(sizes.values()) / 1e6:,.1f} MB", *lines])


def run_cold(*arguments, cwd: Path | None = None) -> dict:
    """Run hub/cold.py in a fresh interpreter that knows nothing of this project, of the Hub or of the token.

    Returns the last line that it printed, as JSON. Raises ValueError with its last message if it fails.
    """
    with tempfile.TemporaryDirectory() as home:
        environment = {key: value for key, value in os.environ.items() if key not in ("HF_TOKEN", "PYTHONPATH")}
        environment |= {"HF_HOME": home, "HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
        command = [sys.executable, "-IB", str(COLD), *map(str, arguments)]
        run = subprocess.run(command, env=environment, cwd=cwd or home, capture_output=True, text=True)
    if run.returncode:
        said = run.stderr.strip().splitlines() or [f"exit status {run.returncode}"]
        raise ValueError(f"The folder does not work where this project is not installed: {said[-1].rstrip('.')}.")
    return json.loads(run.stdout.splitlines()[-1])


def is_new(kind: str, args: argparse.Namespace) -> bool:
    """Whether the repository must be created. Raises if the repository or the token does not fit the options."""
    check_token()
    api, repo = HfApi(), {"repo_id": args.repo, "repo_type": kind}
    new = not api.repo_exists(**repo)
    if new and args.create_pr:
        raise ValueError(f"There is no {kind} {args.repo} to open a pull request to, or the token may not see it.")
    if args.private and not new and not api.repo_info(**repo).private:
        raise ValueError(f"{args.repo} is public already; --private is for a new repository.")
    return new


def upload(folder: Path, kind: str, args: argparse.Namespace, new: bool) -> str:
    """Make the repository hold the files of a folder. Returns a sentence on the result."""
    api, repo = HfApi(), {"repo_id": args.repo, "repo_type": kind}
    if new:
        sdk = str(SpaceCard.load(folder / "README.md").data.sdk) if kind == "space" else None
        api.create_repo(**repo, private=args.private or None, exist_ok=True, space_sdk=sdk)
    if args.revision and not args.revision.startswith("refs/"):
        api.create_branch(**repo, branch=args.revision, exist_ok=True)

    there = api.repo_info(**repo, revision=args.revision).sha
    changed, extra = differences(api, folder, repo, str(there))
    if not changed and not extra:
        return f"Nothing to upload: {kind} {args.repo} holds these files already (commit {there})."
    number = len(changed)
    commit = api.upload_folder(
        **repo,
        folder_path=folder,
        revision=args.revision,
        create_pr=args.create_pr,
        parent_commit=there,
        delete_patterns="*",
        commit_message=f"Upload {number} file{'' if number == 1 else 's'} by hub/push_{kind}.py",
    )
    changed, extra = differences(api, folder, repo, commit.pr_revision or commit.oid)
    if changed or extra:
        raise ValueError(
            f"After the upload {(changed + extra)[0]} differs from the file sent; run the same command again."
        )
    where = f"pull request {commit.pr_url}" if commit.pr_url else f"{kind} {args.repo}, commit {commit.oid}"
    return f"Uploaded and compared: {where}; {number} of {len(files_in(folder))} files were new or changed."


def differences(api: HfApi, folder: Path, repo: dict, revision: str) -> tuple[list[str], list[str]]:
    """Files of a folder that a repository lacks or has with another digest, and files that only the repository has."""
    found = api.verify_repo_checksums(**repo, local_dir=folder, revision=revision)
    changed = sorted([*found.extra_paths, *(mismatch["path"] for mismatch in found.mismatches)])
    return changed, sorted(set(found.missing_paths) - {".gitattributes"})
