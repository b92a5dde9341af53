//! A real project: Debian's source package of GNU hello.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use signalbox_service::process::{Bounds, Output, Program};
use signalbox_service::testing::not_run;

/// How long a download may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// The unpacked source of GNU hello, fetched once and kept beside the build's own files. `None` where it cannot be had;
/// where `CI` is set that is a failure.
///
/// # Panics
/// When it cannot be had although `CI` is set, or a file cannot be written.
pub async fn hello_source() -> Option<PathBuf> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/scenarios/hello");
    let source = cache.join("source");
    if source.join("configure").is_file() {
        return Some(source);
    }
    match fetch(&cache).await {
        Ok(()) => Some(source),
        Err(why) => {
            not_run(&format!("Debian's source of GNU hello ({why})"));
            None
        }
    }
}

/// Fetches and unpacks it, with package lists of our own: the system's stay as they are.
async fn fetch(cache: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| error.to_string();
    let (parts, lists) = (cache.join("sources"), cache.join("lists"));
    for folder in [&parts, &lists.join("partial")] {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(parts.join("source.sources"), source_entries().map_err(failed)?).map_err(failed)?;
    let options = [
        "-qq".to_owned(),
        "-o".to_owned(),
        "Dir::Etc::sourcelist=/dev/null".to_owned(),
        "-o".to_owned(),
        format!("Dir::Etc::sourceparts={}", parts.display()),
        "-o".to_owned(),
        format!("Dir::State::lists={}", lists.display()),
    ];
    run(Program::new("apt-get").args(&options).arg("update").dir(cache)).await?;
    run(Program::new("apt-get").args(&options).args(["source", "--download-only", "hello"]).dir(cache)).await?;
    let archive = fs::read_dir(cache)
        .map_err(failed)?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.to_string_lossy().ends_with(".orig.tar.gz"))
        .ok_or("there is no archive among what was downloaded")?;
    let unpacked = cache.join("unpacking");
    fs::create_dir_all(&unpacked).map_err(failed)?;
    run(Program::new("tar").arg("-xzf").arg(&archive).args(["--strip-components=1", "--no-same-owner", "-C"]).arg(&unpacked)).await?;
    // Complete or absent: the folder gets its name last.
    fs::rename(&unpacked, cache.join("source")).map_err(failed)
}

/// The system's own sources of packages, for source packages.
fn source_entries() -> std::io::Result<String> {
    use std::fmt::Write as _;
    let mut text = String::new();
    for entry in fs::read_dir("/etc/apt/sources.list.d")?.flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "sources") {
            let stanza = fs::read_to_string(entry.path())?;
            // Others than Debian's own need not have source packages at all.
            if stanza.contains("debian-archive-keyring") {
                text.push_str(&stanza.replace("Types: deb\n", "Types: deb-src\n"));
                text.push('\n');
            }
        }
    }
    if text.is_empty() {
        // The older form has one line an entry; each has a stanza as its equal.
        for line in fs::read_to_string("/etc/apt/sources.list")?.lines() {
            let words: Vec<&str> = line.split_whitespace().filter(|word| !word.starts_with('[')).collect();
            if let ["deb", uri, suite, components @ ..] = words.as_slice() {
                let components = components.join(" ");
                // Writing to a string cannot fail.
                let _ = writeln!(text, "Types: deb-src\nURIs: {uri}\nSuites: {suite}\nComponents: {components}\n");
            }
        }
    }
    Ok(text)
}

async fn run(program: Program) -> Result<Output, String> {
    let program = program.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    let output = program.run(Bounds::new(PATIENCE)).await.map_err(|error| error.to_string())?;
    if output.status.success() { Ok(output) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
