//! What happens, in words.

use signalbox_contract::Failure;
use signalbox_controller_core::dispatcher::{Fault, Settlement};

use crate::outside::Answer;

/// What a receiver answered.
pub(crate) fn answered(answer: &Answer) -> String {
    match answer {
        Ok(Some(event)) => event.word().to_owned(),
        Ok(None) => "done".to_owned(),
        Err(Fault::Working) => "still at it".to_owned(),
        Err(Fault::Again { why, .. }) => format!("not now: {why}"),
        Err(Fault::NotYet(what)) => format!("not yet: {what}"),
        Err(Fault::Failed(Failure { code, .. })) => format!("refused: {code:?}"),
    }
}

/// What is written of an effect.
pub(crate) fn settled(settlement: &Settlement) -> String {
    match settlement {
        Settlement::Tell { run, event } => format!("{run} is told {}", event.word()),
        Settlement::Done => "done".to_owned(),
        Settlement::Later { error, .. } => format!("tried again later ({error})"),
    }
}
