//! What the services' databases say is still to be done or held.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

/// What may not be left once everything is over: the database, the question, and what a row of its answer is. A `sweep` looks for
/// surplus builds long afterwards, by its nature.
const QUESTIONS: [(&str, &str, &str); 5] = [
    ("controller", "SELECT 'run ' || id || ' is ' || state FROM run WHERE state <> 'finished'", "a run"),
    ("controller", "SELECT key || ', ' || tries || ' tries' FROM effect WHERE kind <> 'sweep'", "something to be done"),
    ("controller", "SELECT resource || ' by ' || holder FROM claim", "something that is held"),
    ("controller", "SELECT key FROM live", "a build that is looked at"),
    ("artifact-store", "SELECT key FROM upload_grant WHERE closed_at IS NULL", "a grant"),
];

/// Waits until nothing is to be done and nothing is held any more, and says what is where that does not come.
pub(crate) async fn quiet(site: &Path, patience: Duration) -> Result<(), String> {
    let begun = Instant::now();
    loop {
        let left = left(site).await;
        if left.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(left.join("; "));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

/// Waits until so many projects of forges were compared once. What is there before is taken note of, and not built.
pub(crate) async fn compared(site: &Path, projects: usize, patience: Duration) -> Result<(), String> {
    let (begun, path) = (Instant::now(), site.join("data/controller/controller.db"));
    loop {
        let seen = asked(&path, "SELECT project FROM compared").await.unwrap_or_default();
        if seen.len() >= projects {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(format!("of {projects} projects these alone were compared: {seen:?}"));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// What is still to be done or held, a sentence each.
pub(crate) async fn left(site: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for (service, question, what) in QUESTIONS {
        let path: PathBuf = site.join(format!("data/{service}/{service}.db"));
        match asked(&path, question).await {
            Ok(rows) => found.extend(rows.into_iter().map(|row| format!("{what} is left at the {service}: {row}"))),
            Err(error) => found.push(format!("{}: {error}", path.display())),
        }
    }
    found
}

async fn asked(path: &Path, question: &'static str) -> Result<Vec<String>, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(Duration::from_secs(10));
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let rows = sqlx::query_scalar::<_, String>(question).fetch_all(&mut connection).await;
    connection.close().await?;
    rows
}
