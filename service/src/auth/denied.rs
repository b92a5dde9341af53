//! Why a token does not open the door.

use signalbox_contract::token::Service;
use signalbox_contract::{Code, Problem};

/// Why a token was not taken. Its words are safe to answer: they never repeat any part of the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is none.
    #[error("no token was given")]
    Missing,
    /// There is more than one, or one where none belongs.
    #[error("exactly one token is taken, in one Authorization header")]
    Ambiguous,
    /// The header's value is not a token.
    #[error("the Authorization header does not hold a token")]
    Malformed,
    /// It is longer than any token of ours.
    #[error("the token is too long")]
    TooLong,
    /// Its form, key, algorithm or signature is wrong. Which of them is nobody's business.
    #[error("the token cannot be verified")]
    Unverifiable,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It says that it is from the future.
    #[error("the token is not valid yet; do the machines' clocks agree?")]
    NotYet,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// It is a good token of another kind.
    #[error("the token is of another kind than is needed here")]
    WrongKind,
    /// It was issued by, or to, somebody else.
    #[error("the token was not issued for this use")]
    WrongIssuer,
    /// It is a good token for another service.
    #[error("the token is for {}, and this is the {wanted}: use one whose audience is {wanted}", theirs(*given))]
    WrongAudience {
        /// The service that it is for; none if that is no service of this version.
        given: Option<Service>,
        /// The service that was asked.
        wanted: Service,
    },
    /// It is a good act token for another request.
    #[error("the token is bound to another request")]
    WrongRequest,
    /// It is a good act token for this request with another body.
    #[error("the token is bound to another body")]
    WrongBody,
}

impl Denied {
    /// `unauthenticated` for what cannot be verified, `forbidden` for a good token that is not for this.
    pub const fn code(self) -> Code {
        match self {
            Self::Missing
            | Self::Ambiguous
            | Self::Malformed
            | Self::TooLong
            | Self::Unverifiable
            | Self::Expired
            | Self::NotYet
            | Self::Revoked => Code::Unauthenticated,
            Self::WrongKind | Self::WrongIssuer | Self::WrongAudience { .. } | Self::WrongRequest | Self::WrongBody => Code::Forbidden,
        }
    }
}

/// Whose a token is that is not ours.
fn theirs(given: Option<Service>) -> String {
    given.map_or_else(|| "another service".to_owned(), |service| format!("the {service}"))
}

impl From<Denied> for Problem {
    fn from(denied: Denied) -> Self {
        let mut sentence = denied.to_string();
        if let Some(first) = sentence.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        sentence.push('.');
        Self::new(denied.code()).detail(sentence)
    }
}

impl From<Denied> for crate::http::Refusal {
    fn from(denied: Denied) -> Self {
        Problem::from(denied).into()
    }
}
