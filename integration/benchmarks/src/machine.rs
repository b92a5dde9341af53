//! What was measured, and on what.

use std::path::Path;

use jiff::Timestamp;
use signalbox_service::process::{Bounds, Program};

/// The facts of the machine, a line each.
pub(crate) fn facts() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let after = |text: &str, word: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(word))
            .map(|rest| rest.trim_start_matches([' ', '\t', ':', '=']).trim_matches('"').to_owned())
    };
    let cpuinfo = read("/proc/cpuinfo");
    let model = after(&cpuinfo, "model name").unwrap_or_else(|| "unknown processor".to_owned());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = after(&read("/proc/meminfo"), "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok()).unwrap_or_default();
    let system = after(&read("/etc/os-release"), "PRETTY_NAME").unwrap_or_default();
    vec![
        format!("{cores} cores ({model}), {} GiB of memory", memory.div_ceil(1024 * 1024)),
        format!("{system}, Linux {}", read("/proc/sys/kernel/osrelease").trim()),
    ]
}

/// The commit that is measured, as git names it, and whether the tree differs from it.
pub(crate) async fn commit(root: &Path) -> String {
    let git = Program::new("git").env("PATH", "/usr/local/bin:/usr/bin:/bin").dir(root);
    let git = git.args(["-c", "safe.directory=*", "describe", "--always", "--dirty", "--abbrev=12"]);
    match git.run(Bounds::new(std::time::Duration::from_secs(10))).await {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "an unknown commit".to_owned(),
    }
}

/// The day, as documents have it.
pub(crate) fn day(now: Timestamp) -> String {
    now.strftime("%Y-%m-%d").to_string()
}
