//! What a service tells of itself: its log, its metrics, and the request's id on both sides of a call.
//!
//! Messages of the log are dotted names (`request.answered`), what varies is in fields, units are in their names
//! (`ms`). An error is logged once, where it is handled. Never logged: headers, queries, bodies, secrets.

mod causes;
mod logging;
mod metrics;
pub mod request_id;

pub use causes::causes;
pub use logging::{init_logging, log_panics};
pub use metrics::{METRICS_MEDIA_TYPE, Telemetry};
