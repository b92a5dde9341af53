//! What is kept of operators' tokens: everything but the tokens.

use std::collections::HashSet;
use std::time::Duration;

use jiff::Timestamp;
use signalbox_contract::api::Page;
use signalbox_contract::api::token::{Revocations, TokenInfo};
use signalbox_contract::grant::Grant;
use signalbox_contract::token::Service;
use signalbox_service::telemetry::causes;
use uuid::Uuid;

use super::rows::{from_json, millis, moment, to_json};
use super::{Store, StoreError};

/// A token that was made.
#[derive(Debug, Clone)]
pub struct NewToken {
    /// Its id.
    pub jti: Uuid,
    /// Who it is for.
    pub principal: String,
    /// The service that it is for.
    pub audience: Service,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// When it ends.
    pub expires_at: Timestamp,
}

type Row = (String, String, String, String, i64, Option<i64>);

fn info((jti, principal, audience, grants, expires, revoked): Row) -> Result<TokenInfo, StoreError> {
    Ok(TokenInfo {
        jti: jti.parse().unwrap_or_default(),
        principal,
        audience: from_json("token", &audience)?,
        grants: from_json("token", &grants)?,
        expires_at: moment(expires),
        revoked_at: revoked.map(moment),
    })
}

/// The principal of a revoked token that was not on the list: whose it is, if anybody's, is not known.
pub const UNLISTED: &str = "unrecorded";

impl Store {
    /// Records a token.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn record_token(&self, token: NewToken) -> Result<TokenInfo, StoreError> {
        sqlx::query("INSERT INTO token (jti, principal, audience, grants, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(token.jti.to_string())
            .bind(&token.principal)
            .bind(to_json("token", &token.audience)?)
            .bind(to_json("token", &token.grants)?)
            .bind(millis(self.now()))
            .bind(millis(token.expires_at))
            .execute(&self.db.writer)
            .await?;
        let NewToken { jti, principal, audience, grants, expires_at } = token;
        Ok(TokenInfo { jti, principal, audience, grants, expires_at, revoked_at: None })
    }

    /// A page of the tokens, in the order of their ids, after `after`.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn tokens(&self, after: Option<Uuid>, limit: u32) -> Result<Page<TokenInfo>, StoreError> {
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT jti, principal, audience, grants, expires_at, revoked_at FROM token WHERE jti > $1 ORDER BY jti LIMIT $2",
        )
        .bind(after.map(|jti| jti.to_string()).unwrap_or_default())
        .bind(i64::from(limit) + 1)
        .fetch_all(&self.db.readers)
        .await?;
        let more = rows.len() > limit as usize;
        let next = rows.get((limit as usize).saturating_sub(1)).filter(|_| more).map(|(jti, ..)| jti.clone());
        let read = |row: Row| {
            let jti = row.0.clone();
            info(row).inspect_err(|error| tracing::error!(jti, error = %causes(error), "the record of a token cannot be read")).ok()
        };
        let items = rows.into_iter().take(limit as usize).filter_map(read).collect();
        Ok(Page { items, next })
    }

    /// One token.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn token(&self, jti: Uuid) -> Result<Option<TokenInfo>, StoreError> {
        let row: Option<Row> = sqlx::query_as("SELECT jti, principal, audience, grants, expires_at, revoked_at FROM token WHERE jti = $1")
            .bind(jti.to_string())
            .fetch_optional(&self.db.readers)
            .await?;
        row.map(info).transpose()
    }

    /// Revokes a token. Revoking it twice keeps the first time. One that was not recorded, because it was made with the keys
    /// at hand, is recorded by it as somebody's, and for as long as a token can last.
    ///
    /// # Errors
    /// When it could not be written.
    pub async fn revoke_token(&self, jti: Uuid, longest: Duration) -> Result<(), StoreError> {
        let now = self.now();
        sqlx::query(
            "INSERT INTO token (jti, principal, audience, grants, created_at, expires_at, revoked_at) VALUES ($1, $2, $3, '[]', $4, $5, $4)
             ON CONFLICT (jti) DO UPDATE SET revoked_at = coalesce(revoked_at, excluded.revoked_at)",
        )
        .bind(jti.to_string())
        .bind(UNLISTED)
        .bind(to_json("token", &Service::Controller)?)
        .bind(millis(now))
        .bind(millis(now.saturating_add(longest).unwrap_or(Timestamp::MAX)))
        .execute(&self.db.writer)
        .await?;
        Ok(())
    }

    /// The tokens that are revoked and have not ended by themselves.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn revoked(&self) -> Result<HashSet<Uuid>, StoreError> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT jti FROM token WHERE revoked_at IS NOT NULL AND expires_at > $1")
            .bind(millis(self.now()))
            .fetch_all(&self.db.readers)
            .await?;
        Ok(rows.into_iter().filter_map(|(jti,)| jti.parse().ok()).collect())
    }

    /// A page of them, in the order of their ids, after `after`.
    ///
    /// # Errors
    /// When it could not be read.
    pub async fn revocations(&self, after: Option<Uuid>, limit: u32) -> Result<Revocations, StoreError> {
        let rows: Vec<(String,)> =
            sqlx::query_as("SELECT jti FROM token WHERE revoked_at IS NOT NULL AND expires_at > $1 AND jti > $2 ORDER BY jti LIMIT $3")
                .bind(millis(self.now()))
                .bind(after.map(|jti| jti.to_string()).unwrap_or_default())
                .bind(i64::from(limit) + 1)
                .fetch_all(&self.db.readers)
                .await?;
        let more = rows.len() > limit as usize;
        let revoked: Vec<Uuid> = rows.into_iter().take(limit as usize).filter_map(|(jti,)| jti.parse().ok()).collect();
        let next = revoked.last().copied().filter(|_| more);
        Ok(Revocations { revoked, next })
    }
}
