//! From what the VCS worker answered to the plan: the job file is read, the job chosen; or, where the executor reads a
//! definition of its own, it is seen that there is one.

use std::collections::BTreeMap;

use signalbox_contract::api::vcs::FileContent;
use signalbox_contract::git::RepoPath;
use signalbox_contract::job::{DEFINITION_FILE, MAX_DEFINITION};
use signalbox_contract::{Failure, FailureCode, RefName};
use signalbox_controller_core::plan::{self, CdOrder, Native, PlannedStep};

use crate::definition;

type Files = BTreeMap<RepoPath, FileContent>;

/// The steps behind the mirror, or why there can be none.
pub(super) fn resolve(order: &CdOrder, ref_name: &RefName, files: &Files) -> Result<Vec<PlannedStep>, Failure> {
    match &order.route.native {
        Some(native) => resolve_native(order, ref_name, native, files),
        None => resolve_job(order, ref_name, files),
    }
}

/// What the file says is for the executor alone. Only that it is missing is better said before anything was pushed.
fn resolve_native(order: &CdOrder, ref_name: &RefName, native: &Native, files: &Files) -> Result<Vec<PlannedStep>, Failure> {
    if let Some(file) = &native.file
        && matches!(files.get(file), Some(FileContent::Missing) | None)
    {
        let detail = format!("There is no {file} in the commit, by which the executor {} builds.", order.executor);
        let hint = format!(
            "Add one; or, where the definition stands elsewhere, say so as `ci_config` of [repositories.\"{}\"] in the controller's \
             configuration.",
            order.repo
        );
        return Err(Failure::new(FailureCode::DefinitionMissing, detail).hint(hint));
    }
    plan::resolve_native(order, ref_name, native)
}

fn resolve_job(order: &CdOrder, ref_name: &RefName, files: &Files) -> Result<Vec<PlannedStep>, Failure> {
    let file = files.iter().find(|(path, _)| path.as_str() == DEFINITION_FILE).map(|(_, content)| content);
    let invalid = |detail: String| Failure::new(FailureCode::DefinitionInvalid, detail);
    let text = match file {
        Some(FileContent::Text { text }) => text,
        Some(FileContent::TooLarge { size }) => {
            return Err(invalid(format!("{DEFINITION_FILE} has {size} bytes; it may have {MAX_DEFINITION}.")));
        }
        Some(FileContent::NotText { line: Some(line), column: Some(column) }) => {
            return Err(invalid(format!("{DEFINITION_FILE} is not UTF-8, at line {line}, column {column}.")));
        }
        Some(FileContent::NotText { .. }) => return Err(invalid(format!("{DEFINITION_FILE} is not UTF-8."))),
        Some(FileContent::Missing) | None => {
            return Err(Failure::new(FailureCode::DefinitionMissing, format!("There is no {DEFINITION_FILE} in the commit."))
                .hint("Add one with `version: 1` and a job with a `script`."));
        }
    };
    let file = definition::parse(text).map_err(|errors| invalid(errors.to_string()))?;
    plan::resolve(order, ref_name, file)
}
