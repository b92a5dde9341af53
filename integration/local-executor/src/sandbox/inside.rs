//! What a build finds inside: the files by which it begins, and what it must know of its user.

use std::fmt::Write as _;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use signalbox_contract::job::Variables;

/// How a build begins, inside, with the control folder and the workspace: it goes there as its own user, the variables are set and the script is run. Only from here on does anything that the
/// repository chose have an effect.
const ENTRY: &str = "\
exec </dev/null 2>&1
umask 022
cd \"$2\" || exit 125
. \"$1/variables\"
exec /bin/sh -e \"$1/script\"
";

/// Writes the control folder: what the build may read and not change. `user` is its user inside.
pub(crate) fn write_control(folder: &Path, script: &str, variables: &Variables, user: u32) -> io::Result<()> {
    // The build's user reads them, whatever our umask is. They lie in a folder that is closed to everybody else.
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(path, Permissions::from_mode(0o644))
    };
    write("entry", ENTRY)?;
    write("script", script)?;
    write("variables", &exports(variables))?;
    write("passwd", &format!("root:x:0:0:root:/root:/usr/sbin/nologin\nbuild:x:{user}:{user}:build:/home/build:/bin/sh\n"))?;
    write("group", &format!("root:x:0:\nbuild:x:{user}:\n"))?;
    write("hosts", "127.0.0.1 localhost build\n::1 localhost\n")
}

/// The variables as a shell reads them. A value is data, whatever it holds.
fn exports(variables: &Variables) -> String {
    variables.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "export {name}='{}'", value.replace('\'', "'\\''"));
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_value_is_data_whatever_it_holds() {
        use signalbox_service::process::{Bounds, Program};
        let hostile = "it's \"$(touch /tmp/x)\" `id` \\ $HOME\n; exit 1 \u{1b}[31m'''";
        let variables = Variables::from([("VALUE".parse().expect("valid"), hostile.to_owned())]);
        let script = format!("{}printf %s \"$VALUE\"", exports(&variables));
        let output = Program::new("/bin/sh").args(["-e", "-c", &script]).run(Bounds::new(std::time::Duration::from_secs(10))).await;
        let output = output.expect("runs");
        assert!(output.status.success());
        assert_eq!(String::from_utf8_lossy(&output.stdout), hostile);
    }
}
