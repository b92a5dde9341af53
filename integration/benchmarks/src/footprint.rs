//! S1 and S2: what it needs when nothing happens, and how soon it is there.

use std::time::Duration;

use anyhow::Result;

use crate::bench::{Bench, Memory, least, memory, millis};
use crate::site::{Besides, Site};
use crate::table::{Goal, Row};

/// Measures it.
///
/// # Errors
/// When something does not run.
pub(crate) async fn footprint(bench: &Bench) -> Result<Vec<Row>> {
    let (mut starts, mut held) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds {
        bench.doing(&format!("S2, round {round}: a start in a fresh folder"));
        let mut site = Site::made(&bench.program, &bench.place, &Besides::default()).await?;
        starts.push(millis(site.start().await?));
        // What a start takes for a moment is given back soon after.
        tokio::time::sleep(Duration::from_secs(1)).await;
        held.extend(site.process().map(|process| memory(process, Memory::Now)).transpose()?);
        site.stop().await?;
    }
    #[expect(clippy::cast_precision_loss, reason = "a file's size in MiB needs no more digits")]
    let size = std::fs::metadata(&bench.program)?.len() as f64 / (1024.0 * 1024.0);
    let row = |id, what: &str, ours, unit, must, aim| Row {
        id,
        what: what.to_owned(),
        ours,
        peer: None,
        unit,
        must: Some(Goal::AtMost(must)),
        aim: Some(Goal::AtMost(aim)),
    };
    Ok(vec![
        row("S1", "memory of `signalbox up`, idle", least(&held), "MiB", 64.0, 32.0),
        row("S2", "start in a fresh folder until ready", least(&starts), "ms", 1000.0, 200.0),
        row("S2", "size of the stripped program", size, "MiB", 60.0, 30.0),
    ])
}
