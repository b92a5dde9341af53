//! A1 and A2: the artifact store beside nginx, which neither syncs nor hashes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use signalbox_contract::token::Service;
use signalbox_service::process::{Bounds, Program};

use crate::bench::{Bench, Memory, least, memory, millis, most};
use crate::peer::Nginx;
use crate::site::{Besides, Site};
use crate::table::{Goal, Peer, Row};
use crate::wrk::Load;

/// Requests that each put other 4 KiB under another name, below this path.
fn puts(path: &str) -> String {
    format!(
        "local thread = 0\nfunction setup(t) t:set(\"id\", thread); thread = thread + 1 end\n\
         local filler = string.rep(\"x\", 4096)\nlocal n = 0\n\
         function request()\n  n = n + 1\n  local mark = id .. \"-\" .. n .. \";\"\n\
         \x20 return wrk.format(\"PUT\", \"{path}/\" .. id .. \"-\" .. n, nil, mark .. filler:sub(#mark + 1))\nend\n"
    )
}

/// Puts a file by curl, and says how long that took.
async fn put(folder: &Path, file: &Path, url: &str, header: &str) -> Result<Duration> {
    let begun = Instant::now();
    let curl =
        Program::new("curl").env("PATH", "/usr/local/bin:/usr/bin:/bin").dir(folder).args(["-sS", "-f", "-o", "/dev/null", "-H", header]);
    let output = curl.arg("-T").arg(file).arg(url).run(Bounds::new(Duration::from_mins(5))).await.context("running curl")?;
    if !output.status.success() {
        bail!("PUT {url}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(begun.elapsed())
}

/// Writes a file of so many bytes that are not all the same.
fn fill(path: &Path, megabytes: usize) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path)?;
    let mut block: Vec<u8> = Vec::with_capacity(1 << 20);
    let mut state: u64 = 1;
    while block.len() < 1 << 20 {
        // Knuth's linear congruence: fast, and not to be compressed or told apart by eye.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        block.extend_from_slice(&state.to_be_bytes());
    }
    for number in 0..megabytes {
        block[..8].copy_from_slice(&number.to_be_bytes());
        file.write_all(&block)?;
    }
    Ok(())
}

/// Small ones, put.
///
/// # Errors
/// When something does not run.
pub(crate) async fn small_puts(bench: &Bench) -> Result<Vec<Row>> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        bench.doing(&format!("A1, round {round}"));
        let nginx = Nginx::start(&bench.place).await?;
        theirs.push(Load::get(nginx.url("/"), bench.time).script(puts("")).run(&bench.place).await?.rate);
        drop(nginx);
        let mut site = Site::started(&bench.program, &bench.place, &Besides::default()).await?;
        let load = Load::get(site.url(Service::ArtifactStore, "/"), bench.time).header(site.authorization(Service::ArtifactStore)?);
        ours.push(load.script(puts("/blobs/bench")).run(site.home()).await?.rate);
        site.kill().await;
    }
    Ok(vec![Row {
        id: "A1",
        what: "durable PUT of 4 KiB, 64 connections".to_owned(),
        ours: most(&ours),
        peer: Some(Peer { name: "nginx, which syncs nothing", figure: most(&theirs) }),
        unit: "/s",
        must: Some(Goal::AtLeast(0.25)),
        aim: Some(Goal::AtLeast(1.0)),
    }])
}

/// Large ones, and what is read.
///
/// # Errors
/// When something does not run.
pub(crate) async fn transfers(bench: &Bench) -> Result<Vec<Row>> {
    const SIZES: [(&str, usize); 2] = [("large", 1024), ("middle", 64)];
    let folder = tempfile::tempdir_in(&bench.place)?;
    for (name, megabytes) in SIZES {
        fill(&folder.path().join(name), megabytes)?;
    }
    std::fs::write(folder.path().join("small"), vec![b'x'; 4096])?;
    let nginx = Nginx::start(&bench.place).await?;
    let mut site = Site::started(&bench.program, &bench.place, &Besides::default()).await?;
    let header = site.authorization(Service::ArtifactStore)?;
    for name in ["middle", "small"] {
        std::fs::copy(folder.path().join(name), nginx.files().join(name))?;
        put(folder.path(), &folder.path().join(name), &site.url(Service::ArtifactStore, &format!("/blobs/{name}")), &header).await?;
    }
    let mut seen: [[Vec<f64>; 2]; 3] = Default::default();
    let mut held = 0.0_f64;
    for round in 1..=bench.rounds {
        bench.doing(&format!("A2, round {round}: PUT of 1 GiB"));
        let large = folder.path().join("large");
        // Another content each time: what the store has already would not be written again.
        std::os::unix::fs::FileExt::write_all_at(&std::fs::OpenOptions::new().write(true).open(&large)?, &round.to_be_bytes(), 1 << 16)?;
        seen[0][1].push(millis(put(folder.path(), &large, &nginx.url(&format!("/large-{round}")), "x-none: 1").await?));
        std::fs::remove_file(nginx.files().join(format!("large-{round}")))?;
        let url = site.url(Service::ArtifactStore, "/blobs/large");
        seen[0][0].push(millis(put(folder.path(), &large, &url, &header).await?));
        held = held.max(site.process().map(|process| memory(process, Memory::Peak)).transpose()?.unwrap_or_default());
        for (index, (name, connections)) in [("middle", 4), ("small", 64)].into_iter().enumerate() {
            bench.doing(&format!("A2, round {round}: GET of {name}"));
            let theirs = Load { connections, ..Load::get(nginx.url(&format!("/{name}")), bench.time) };
            seen[index + 1][1].push(theirs.run(site.home()).await?.rate);
            let url = site.url(Service::ArtifactStore, &format!("/blobs/{name}"));
            let load = Load { connections, ..Load::get(url, bench.time) };
            seen[index + 1][0].push(load.header(header.clone()).run(site.home()).await?.rate);
        }
    }
    site.stop().await?;
    let row = |what: &str, unit, ours, theirs, must, aim| Row {
        id: "A2",
        what: what.to_owned(),
        ours,
        peer: Some(Peer { name: "nginx", figure: theirs }),
        unit,
        must: Some(must),
        aim: Some(aim),
    };
    // A time must not be longer than the peer's by what a rate must not be lower.
    let (half, nearly) = (Goal::AtMost(2.0), Goal::AtMost(1.0 / 0.9));
    Ok(vec![
        row("PUT of 1 GiB, durable and hashed", "ms", least(&seen[0][0]), least(&seen[0][1]), half, nearly),
        row("GET of 64 MiB, 4 connections", "/s", most(&seen[1][0]), most(&seen[1][1]), Goal::AtLeast(0.5), Goal::AtLeast(0.9)),
        row("GET of 4 KiB, 64 connections", "/s", most(&seen[2][0]), most(&seen[2][1]), Goal::AtLeast(0.5), Goal::AtLeast(0.9)),
        Row {
            id: "S1",
            what: "memory of `signalbox up`, at most, during PUTs of 1 GiB".to_owned(),
            ours: held,
            peer: None,
            unit: "MiB",
            must: Some(Goal::AtMost(96.0)),
            aim: Some(Goal::AtMost(48.0)),
        },
    ])
}
