//! From what the VCS worker answered to the plan: the job file is read, the job chosen.

use std::collections::BTreeMap;

use signalbox_contract::api::vcs::FileContent;
use signalbox_contract::git::RepoPath;
use signalbox_contract::job::{DEFINITION_FILE, MAX_DEFINITION};
use signalbox_contract::{Failure, FailureCode, RefName};
use signalbox_controller_core::plan::{self, CdOrder, PlannedStep};

use crate::definition;

/// The steps behind the mirror, or why there can be none.
pub(super) fn resolve(order: &CdOrder, ref_name: &RefName, files: &BTreeMap<RepoPath, FileContent>) -> Result<Vec<PlannedStep>, Failure> {
    let file = files.iter().find(|(path, _)| path.as_str() == DEFINITION_FILE).map(|(_, content)| content);
    let invalid = |detail: String| Failure::new(FailureCode::DefinitionInvalid, detail);
    let text = match file {
        Some(FileContent::Text { text }) => text,
        Some(FileContent::TooLarge { size }) => {
            return Err(invalid(format!("{DEFINITION_FILE} has {size} bytes; it may have {MAX_DEFINITION}.")));
        }
        Some(FileContent::NotText) => return Err(invalid(format!("{DEFINITION_FILE} is not UTF-8."))),
        Some(FileContent::Missing) | None => {
            return Err(Failure::new(FailureCode::DefinitionMissing, format!("There is no {DEFINITION_FILE} in the commit."))
                .hint("Add one with `version: 1` and a job with a `script`."));
        }
    };
    let file = definition::parse(text).map_err(|errors| invalid(errors.to_string()))?;
    plan::resolve(order, ref_name, file)
}
