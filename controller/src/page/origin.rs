//! Where a run came from, and what was told there.

use signalbox_contract::Origin;
use signalbox_contract::api::run::{ReportView, RunView};
use signalbox_contract::change::Standing;

use super::words::{Fact, State, log_text, moment};

/// What was told to the forge.
pub(super) struct Report {
    pub(super) forge: String,
    /// What it was told last.
    pub(super) told: Option<State>,
    pub(super) at: String,
    /// What it is being told.
    pub(super) wanted: Option<State>,
    pub(super) remarks: Vec<String>,
    pub(super) failure: Option<String>,
}

/// What made the run begin. Topics and projects are in the words of whoever wrote them.
pub(super) fn facts(origin: &Origin) -> Vec<Fact> {
    let text = |text: &str| log_text(text.as_bytes());
    match origin {
        Origin::Api => Vec::new(),
        Origin::Review(head) => {
            let patch_set = head.patch_set.map(|number| format!(", patch set {number}")).unwrap_or_default();
            let mut facts = vec![
                Fact::plain("Forge", format!("{}, {}", head.change.forge, text(&head.change.project))),
                Fact::plain("Change", format!("{}{patch_set}", head.change.number)).at(head.url.as_ref()),
                Fact::plain("For", head.branch.short()),
            ];
            facts.extend(head.topic.as_deref().map(|topic| Fact::plain("Topic", text(topic))));
            facts
        }
        Origin::Moved { forge, project, ref_name, .. } => {
            let what = if ref_name.as_str().starts_with("refs/tags/") { "tag" } else { "branch" };
            let moved = format!("the {what} {} moved", ref_name.short());
            vec![Fact::plain("Forge", format!("{forge}, {}", text(project))), Fact::plain("Because", moved)]
        }
    }
}

/// What was told, if anything is.
pub(super) fn report(run: &RunView) -> Option<Report> {
    let ReportView { wanted, told, told_at, remarks, failure } = run.report.as_ref()?;
    Some(Report {
        forge: run.summary.origin.forge().map(ToString::to_string).unwrap_or_default(),
        told: told.map(standing),
        at: told_at.map(moment).unwrap_or_default(),
        wanted: (failure.is_none() && *told != Some(*wanted)).then(|| standing(*wanted)),
        remarks: remarks.iter().map(|remark| log_text(remark.as_bytes())).collect(),
        failure: failure.as_ref().map(ToString::to_string),
    })
}

const fn standing(standing: Standing) -> State {
    let tone = match standing {
        Standing::Started => "busy",
        Standing::Passed => "good",
        Standing::Failed => "bad",
        Standing::Undecided => "off",
    };
    State { word: standing.word(), tone }
}
