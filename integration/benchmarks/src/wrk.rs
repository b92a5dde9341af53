//! The load: wrk, a client that keeps its connections busy for a while and counts.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use signalbox_service::process::{Bounds, Program};

/// What is asked, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    /// Where.
    pub(crate) url: String,
    /// Header lines.
    pub(crate) headers: Vec<String>,
    /// A script in Lua that makes the requests, where they are not plain GETs.
    pub(crate) script: Option<String>,
    /// How many connections are kept busy.
    pub(crate) connections: u32,
    /// How long.
    pub(crate) time: Duration,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Measured {
    /// Answers a second.
    pub(crate) rate: f64,
    /// What 99 of 100 answers took at most, in milliseconds.
    pub(crate) p99: f64,
}

impl Load {
    /// Plain GETs of this address, with these header lines, by 64 connections.
    pub(crate) fn get(url: impl Into<String>, time: Duration) -> Self {
        Self { url: url.into(), headers: Vec::new(), script: None, connections: 64, time }
    }

    /// The same, with one more header line.
    pub(crate) fn header(mut self, line: impl Into<String>) -> Self {
        self.headers.push(line.into());
        self
    }

    /// The same, but each request has this method and body.
    pub(crate) fn sending(mut self, method: &str, content_type: &str, body: &str) -> Self {
        self.script =
            Some(format!("wrk.method = \"{method}\"\nwrk.body = {}\nwrk.headers[\"content-type\"] = \"{content_type}\"\n", quoted(body)));
        self
    }

    /// The same, with requests that this script makes.
    pub(crate) fn script(mut self, lua: impl Into<String>) -> Self {
        self.script = Some(lua.into());
        self
    }

    /// Asks, for as long as was said, and counts.
    ///
    /// # Errors
    /// When wrk cannot be run; and when anything but a 2xx was answered, or a connection was lost: a rate of refusals is none.
    pub(crate) async fn run(&self, folder: &Path) -> Result<Measured> {
        let mut program = Program::new("wrk").env("PATH", "/usr/local/bin:/usr/bin:/bin").dir(folder).args(["-t", "2", "--latency"]);
        program = program.args(["-c", &self.connections.to_string(), "-d", &format!("{}s", self.time.as_secs().max(1))]);
        // An answer that takes longer counts as lost.
        program = program.args(["--timeout", "30s"]);
        if let Some(script) = &self.script {
            let path = folder.join("wrk.lua");
            std::fs::write(&path, script).context("writing a script for wrk")?;
            program = program.arg("-s").arg(&path);
        }
        for header in &self.headers {
            program = program.arg("-H").arg(header);
        }
        let output = program.arg(&self.url).run(Bounds::new(self.time + Duration::from_mins(1))).await.context("running wrk")?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("wrk {}: {said}{}", self.url, String::from_utf8_lossy(&output.stderr));
        }
        read(&said).with_context(|| format!("wrk {}", self.url))
    }
}

/// A string of Lua.
fn quoted(text: &str) -> String {
    let mut level = String::new();
    while text.contains(&format!("]{level}]")) {
        level.push('=');
    }
    format!("[{level}[{text}]{level}]")
}

/// Reads what wrk says.
fn read(said: &str) -> Result<Measured> {
    for bad in ["Non-2xx", "Socket errors"] {
        if let Some(line) = said.lines().find(|line| line.contains(bad)) {
            bail!("{}", line.trim());
        }
    }
    let after = |word: &str| {
        said.lines()
            .find_map(|line| line.trim().strip_prefix(word))
            .map(str::trim)
            .with_context(|| format!("it says nothing of {word}: {said}"))
    };
    let rate = after("Requests/sec:")?.parse().context("its rate")?;
    let p99 = milliseconds(after("99%")?).context("its times")?;
    Ok(Measured { rate, p99 })
}

/// A time as wrk writes it: `831.00us`, `1.20ms`, `2.01s`.
fn milliseconds(text: &str) -> Result<f64> {
    let end = text.find(|letter: char| letter.is_ascii_alphabetic()).context("a time without a unit")?;
    let (figure, unit) = text.split_at(end);
    let figure: f64 = figure.parse()?;
    Ok(match unit {
        "us" => figure / 1000.0,
        "ms" => figure,
        "s" => figure * 1000.0,
        "m" => figure * 60_000.0,
        _ => bail!("{text} is no time"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "Running 4s test @ http://127.0.0.1:1/\n  2 threads and 64 connections\n  Latency Distribution\n     50%    1.10ms\n     99%    4.20ms\n  1000 requests in 4.00s, 1.00MB read\nRequests/sec:  41234.56\nTransfer/sec:      1.00MB\n";

    #[test]
    fn what_wrk_says_is_read() {
        assert_eq!(read(SAID).expect("figures"), Measured { rate: 41_234.56, p99: 4.2 });
        let times = ["831.00us", "2.5s", "1.5m"].map(|text| milliseconds(text).expect("a time").to_string());
        assert_eq!(times, ["0.831", "2500", "90000"]);
        assert!(milliseconds("7").is_err() && milliseconds("7h").is_err());
    }

    #[test]
    fn refusals_are_no_rate() {
        let refused = SAID.replace("Requests/sec", "  Non-2xx or 3xx responses: 5\nRequests/sec");
        assert!(read(&refused).expect_err("refused").to_string().contains("Non-2xx or 3xx responses: 5"));
    }

    #[test]
    fn any_text_is_a_string_of_lua() {
        assert_eq!([quoted("a"), quoted("a]]b")], ["[[a]]", "[=[a]]b]=]"]);
    }
}
