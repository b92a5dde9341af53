//! What every executor must pass.

use signalbox_adapters::executor_conforms;

use crate::stage::Stage;

executor_conforms!(Stage::with("").await);
