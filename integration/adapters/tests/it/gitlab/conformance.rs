//! What every executor must pass.

use signalbox_adapters::executor_conforms;

use super::stage::Stage;

executor_conforms!(Stage::new().await);
