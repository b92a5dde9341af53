//! Which source a repository's name belongs to.
//!
//! Invariant: a name is bound to the first source that was fetched and proven under it, in the transaction that writes down
//! that it was, and for good: what was built, kept and deployed under a name, and what its readers may see, is of one source.
//! What is only configured binds nothing, so that a slip in it can be corrected.

use signalbox_contract::{RepoName, SourceConflict, SourceUrl};
use signalbox_controller_core::plan::{CdOrder, Request};
use signalbox_controller_core::{Event, Run};
use sqlx::SqliteConnection;

use super::memory::Memory;
use super::rows::{Raw, text, to_json};
use super::{Store, StoreError};

/// The row of a name, as it lies in the file.
pub(super) type Row = (Raw, Raw);

/// What a row says. A name that an older version allowed and this one does not can no longer be asked for either.
pub(super) fn binding((name, source): Row) -> Option<(RepoName, SourceUrl)> {
    Some((text(name).parse().ok()?, text(source).parse().ok()?))
}

impl Memory {
    /// Why a run of this order may not be, if its repository's name belongs to another source.
    pub(super) fn conflict(&self, order: &CdOrder) -> Option<SourceConflict> {
        let bound = self.bindings.get(&order.repo).filter(|bound| **bound != order.source)?;
        Some(SourceConflict { name: order.repo.clone(), bound: bound.clone(), wanted: order.source.clone() })
    }
}

/// The order whose source an event says was fetched.
pub(super) fn fetched<'r>(run: &'r Run, event: &Event) -> Option<&'r CdOrder> {
    match (&run.request, event) {
        (Request::Cd(order), Event::Fetched { .. }) => Some(order),
        _ => None,
    }
}

/// The same event, for a run that was accepted before its name was given to another source: it has no plan.
pub(super) fn refused(event: &Event, conflict: &SourceConflict) -> Event {
    let mut event = event.clone();
    if let Event::Fetched { plan, .. } = &mut event {
        *plan = Err(conflict.failure());
    }
    event
}

/// Writes down what names are bound to from now on.
pub(super) async fn write(writer: &mut SqliteConnection, bound: &[(RepoName, SourceUrl)]) -> Result<(), StoreError> {
    if !bound.is_empty() {
        sqlx::query(
            "INSERT INTO repository (name, source) SELECT value->>0, value->>1 FROM json_each($1) WHERE true ON CONFLICT DO NOTHING",
        )
        .bind(to_json("repository", &bound)?)
        .execute(writer)
        .await?;
    }
    Ok(())
}

impl Store {
    /// Which source each name belongs to, as far as one was ever fetched under it.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn bindings(&self) -> Result<Vec<(RepoName, SourceUrl)>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as("SELECT name, source FROM repository").fetch_all(&self.db.readers).await?;
        Ok(rows.into_iter().filter_map(binding).collect())
    }
}
