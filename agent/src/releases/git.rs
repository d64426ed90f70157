//! Which commit a directory is a checkout of, read from git's own files. Runs no git.

use std::fs;

use camino::{Utf8Path, Utf8PathBuf};

use super::manifest::Git;

/// Symbolic references followed at most; git itself stops at five.
const HOPS_MAX: usize = 5;

/// The commit checked out in the work tree that `directory` lies in. `None` when there is none, or
/// when git keeps its references in another way than files: a release without a commit is still a
/// release.
#[must_use]
pub fn commit_of(directory: &Utf8Path) -> Option<Git> {
    let directory = directory.canonicalize_utf8().ok()?;
    let dot_git = directory.ancestors().map(|parent| parent.join(".git")).find(|p| p.exists())?;
    let git_dir = git_dir(&dot_git)?;
    let common_dir = match read(&git_dir.join("commondir")) {
        Some(path) => git_dir.join(path),
        None => git_dir.clone(),
    };
    let mut value = read(&git_dir.join("HEAD"))?;
    for _ in 0..HOPS_MAX {
        let Some(name) = value.strip_prefix("ref:").map(str::trim) else {
            return is_commit(&value).then_some(Git { commit: value });
        };
        value = resolve(&git_dir, &common_dir, name)?;
    }
    None
}

/// In a linked work tree or a submodule `.git` is a file that names the directory.
fn git_dir(dot_git: &Utf8Path) -> Option<Utf8PathBuf> {
    if dot_git.is_dir() {
        return Some(dot_git.to_owned());
    }
    let text = read(dot_git)?;
    Some(dot_git.parent()?.join(text.strip_prefix("gitdir:")?.trim()))
}

fn resolve(git_dir: &Utf8Path, common_dir: &Utf8Path, name: &str) -> Option<String> {
    if !name.starts_with("refs/") || name.split('/').any(|component| component == "..") {
        return None;
    }
    let loose = [git_dir, common_dir].into_iter().find_map(|directory| read(&directory.join(name)));
    loose.or_else(|| {
        let packed = read(&common_dir.join("packed-refs"))?;
        let line = packed.lines().find(|line| {
            line.split_once(' ').is_some_and(|(_, reference)| reference.trim() == name)
        })?;
        line.split_once(' ').map(|(commit, _)| commit.to_owned())
    })
}

fn read(path: &Utf8Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// SHA-1 or SHA-256.
fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use crate::fsx::{create_dirs, write_atomic};

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn check(files: &[(&str, &str)], directory: &str, commit: Option<&str>) {
        let keep = tempfile::tempdir().unwrap();
        let root = Utf8PathBuf::from_path_buf(keep.path().to_owned()).unwrap();
        create_dirs(&root.join(directory), 0o755).unwrap();
        for (name, text) in files {
            let path = root.join(name);
            create_dirs(path.parent().unwrap(), 0o755).unwrap();
            write_atomic(&path, text.as_bytes(), 0o644).unwrap();
        }
        let found = commit_of(&root.join(directory)).map(|git| git.commit);
        assert_eq!(found.as_deref(), commit, "{files:?}");
    }

    #[test]
    fn follows_head_through_loose_packed_and_linked_references() {
        let line = format!("{COMMIT}\n");
        let packed = format!("# pack-refs with: peeled\n{COMMIT} refs/heads/main\n");
        let main = ("w/.git/HEAD", "ref: refs/heads/main\n");
        check(&[("w/.git/HEAD", &line)], "w/dist", Some(COMMIT));
        check(&[main, ("w/.git/refs/heads/main", &line)], "w", Some(COMMIT));
        check(&[main, ("w/.git/packed-refs", &packed)], "w/a/b", Some(COMMIT));
        let linked = [
            ("linked/.git", "gitdir: ../w/.git/worktrees/linked\n"),
            ("w/.git/worktrees/linked/HEAD", "ref: refs/heads/main\n"),
            ("w/.git/worktrees/linked/commondir", "../..\n"),
            ("w/.git/packed-refs", &packed),
        ];
        check(&linked, "linked/dist", Some(COMMIT));
    }

    #[test]
    fn knows_no_commit_where_there_is_none() {
        check(&[], "plain", None);
        check(&[("w/.git/HEAD", "ref: refs/heads/unborn\n")], "w", None);
        check(&[("w/.git/HEAD", "ref: refs/../../../etc/passwd\n")], "w", None);
        check(&[("w/.git/HEAD", "nonsense\n")], "w", None);
    }
}
