//! What the store's errors are to a caller.

use std::io;

use rustix::io::Errno;
use signalbox_contract::{Code, Problem};
use signalbox_service::http::{Refusal, body_refusal};

use crate::blob::ReadError;
use crate::catalog::{CatalogError, ChangeError, GrantError};
use crate::store::StoreError;
use crate::upload::ReceiveError;

/// After how many seconds trying again makes sense when a disk or the catalog failed.
const AGAIN_AFTER: u32 = 10;

fn no_room() -> Problem {
    Problem::new(Code::InsufficientStorage).detail("There is no room for these bytes; what was stored before is untouched.")
}

fn unavailable(detail: &str) -> Problem {
    Problem::new(Code::Unavailable).detail(detail).retry_after(AGAIN_AFTER)
}

fn log(error: &dyn std::error::Error) {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    tracing::error!(error = words, "the store failed");
}

/// A disk that is full is for the operator to mend and for the caller to know; anything else is a service that cannot
/// write now.
fn disk(error: &io::Error) -> Problem {
    log(error);
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC | Errno::DQUOT) => no_room(),
        _ => unavailable("The store cannot write now; what was stored before is untouched."),
    }
}

/// The refusal of a request that the catalog could not answer.
pub(super) fn catalog(error: &CatalogError) -> Refusal {
    match error {
        CatalogError::Full(_) => {
            log(error);
            no_room().into()
        }
        CatalogError::Failed(_) => {
            log(error);
            unavailable("The store's catalog cannot be used now.").into()
        }
        CatalogError::Closing => unavailable("The service is ending.").into(),
        CatalogError::Nonsense(_) => signalbox_service::http::internal(error.clone()),
    }
}

/// The refusal of a change of a name.
pub(super) fn change(error: &ChangeError) -> Refusal {
    match error {
        ChangeError::Precondition => precondition(),
        ChangeError::Missing => Problem::not_found().into(),
        ChangeError::Quota => no_room().into(),
        ChangeError::Busy => unavailable("Too many changes wait.").into(),
        ChangeError::Catalog(error) => catalog(error),
    }
}

/// The refusal of a request whose condition does not hold.
pub(super) fn precondition() -> Refusal {
    Problem::new(Code::PreconditionFailed).detail("The name does not show what If-Match or If-None-Match asks for.").into()
}

/// The refusal of an upload into a grant.
pub(super) fn grant(error: &GrantError) -> Refusal {
    match error {
        GrantError::Closed => Problem::new(Code::NotAllowedNow).detail("The grant is closed: the attempt is over.").into(),
        GrantError::TooLarge => Problem::new(Code::TooLarge).detail("The grant does not allow so many bytes.").into(),
        GrantError::Quota => no_room().into(),
        GrantError::Catalog(error) => catalog(error),
    }
}

/// The refusal of an upload.
pub(super) fn store(error: StoreError) -> Refusal {
    match error {
        StoreError::Receive(ReceiveError::Body(error)) => body_refusal(error),
        StoreError::Receive(ReceiveError::TooLarge { limit }) => {
            Problem::new(Code::TooLarge).detail(format!("At most {limit} bytes are taken here.")).into()
        }
        StoreError::Receive(ReceiveError::Disk(error)) | StoreError::Disk(error) => disk(&error).into(),
        StoreError::Mismatch => {
            Problem::new(Code::DigestMismatch).field("content-digest", "is not the digest of the bytes that arrived").into()
        }
        StoreError::NoRoom => no_room().into(),
        StoreError::Busy => unavailable("Too many uploads are on their way.").into(),
        StoreError::Change(error) => change(&error),
        StoreError::Grant(error) => grant(&error),
    }
}

/// The refusal of a request for bytes that cannot be read.
pub(super) fn read(error: &ReadError) -> Refusal {
    match error {
        ReadError::Corrupt | ReadError::Missing => Problem::new(Code::Internal)
            .detail("The stored bytes are not what was stored, so they are not served. Upload them again to mend it.")
            .into(),
        ReadError::Disk(_) => {
            log(error);
            unavailable("The stored bytes cannot be read now.").into()
        }
    }
}

/// The refusal of a header that is not valid.
pub(super) fn header(name: &str, detail: &str) -> Refusal {
    Problem::new(Code::InvalidRequest).detail(format!("The header {name} {detail}.")).field(name, detail).into()
}
