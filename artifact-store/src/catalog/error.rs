//! Why the catalog does not do what it is asked.

use std::sync::Arc;

/// Why the catalog could not be used. One error may be the answer to many who share a transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum CatalogError {
    /// Its disk is full.
    #[error("there is no room for the catalog")]
    Full(#[source] Arc<sqlx::Error>),
    /// Its disk, or the database itself, failed.
    #[error("the catalog cannot be used")]
    Failed(#[source] Arc<sqlx::Error>),
    /// Something in it is not what it must be.
    #[error("the catalog holds {0} that cannot be right")]
    Nonsense(&'static str),
    /// The service ends.
    #[error("the catalog is closing")]
    Closing,
}

impl From<sqlx::Error> for CatalogError {
    fn from(error: sqlx::Error) -> Self {
        const SQLITE_FULL: &str = "13";
        let full = error.as_database_error().and_then(sqlx::error::DatabaseError::code).is_some_and(|code| code == SQLITE_FULL);
        if full { Self::Full(Arc::new(error)) } else { Self::Failed(Arc::new(error)) }
    }
}

/// Why a name was not changed.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum ChangeError {
    /// `If-Match` or `If-None-Match` does not hold.
    #[error("a precondition does not hold")]
    Precondition,
    /// There is no such name.
    #[error("there is no such name")]
    Missing,
    /// The quota of the whole store is used up.
    #[error("the store's quota is used up")]
    Quota,
    /// Too much waits already.
    #[error("too many changes wait")]
    Busy,
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

/// Why something was not put into a grant.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum GrantError {
    /// The grant was closed.
    #[error("the grant is closed")]
    Closed,
    /// All that was put is more than the grant allows.
    #[error("the grant does not allow so many bytes")]
    TooLarge,
    /// The quota of the whole store is used up.
    #[error("the store's quota is used up")]
    Quota,
    /// The catalog cannot be used.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
}

impl From<sqlx::Error> for GrantError {
    fn from(error: sqlx::Error) -> Self {
        Self::Catalog(error.into())
    }
}
