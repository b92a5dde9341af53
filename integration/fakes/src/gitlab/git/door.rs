//! The programs that git runs when something is pushed. What they refuse, git says as it says it for GitLab.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Says what was refused for reasons that git knows nothing of, and looks at what only git can see.
const PRE_RECEIVE: &str = r#"#!/bin/sh
refuse() {
    printf 'GitLab: %s\n' "$1" >&2
    exit 1
}
[ -z "$FAKE_REFUSAL" ] || refuse "$FAKE_REFUSAL"
while read -r old new ref; do
    case $new in *[!0]*) ;; *) continue ;; esac
    case " $FAKE_NO_FORCE " in
    *" $ref "*)
        case $old in
        *[!0]*) git merge-base --is-ancestor "$old" "$new" ||
            refuse 'You are not allowed to force push code to a protected branch on this project.' ;;
        esac ;;
    esac
    if [ -n "$FAKE_MESSAGE_PATTERN" ]; then
        for commit in $(git rev-list "$new" --not --all); do
            git log -1 --format=%B "$commit" | grep -Eq -- "$FAKE_MESSAGE_PATTERN" ||
                refuse "Commit message does not follow the pattern '$FAKE_MESSAGE_PATTERN'"
        done
    fi
    if [ -n "$FAKE_LARGEST_FILE" ]; then
        large=$(git rev-list --objects "$new" --not --all | git cat-file --batch-check='%(objecttype) %(objectsize) %(rest)' |
            while read -r kind size name; do
                [ "$kind" != blob ] || [ "$size" -le "$FAKE_LARGEST_FILE" ] || { printf '%s' "$name"; break; }
            done)
        [ -z "$large" ] || refuse "File \"$large\" is larger than the allowed size of $((FAKE_LARGEST_FILE / 1048576)) MiB. Use Git LFS to manage this file."
    fi
done
"#;

/// Says what people may do next.
const POST_RECEIVE: &str = r#"#!/bin/sh
[ -z "$FAKE_SAYS" ] || printf '\n%s\n\n' "$FAKE_SAYS" >&2
"#;

/// Puts the programs into a folder, and answers where.
///
/// # Errors
/// When they cannot be written.
pub(crate) fn install(data: &Path) -> io::Result<PathBuf> {
    let folder = data.join("git-hooks");
    std::fs::create_dir_all(&folder)?;
    for (name, text) in [("pre-receive", PRE_RECEIVE), ("post-receive", POST_RECEIVE)] {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    }
    Ok(folder)
}
