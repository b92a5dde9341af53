//! What is to be done about what happened: pure, from the configuration and what is known.

use std::collections::BTreeMap;

use jiff::Timestamp;
use signalbox_adapters::forge::{Closing, Happening, Proposal, Watched};
use signalbox_contract::change::{ChangeId, ReviewHead};
use signalbox_contract::{CommitSha, ForgeName, Origin, PublishedName, RefName, RepoName};
use signalbox_controller_core::plan::{CdOrder, DeployTarget, Request};

use crate::config::{Config, RepositoryConfig, Rule, When};
use crate::engine::subject;
use crate::store::{Again, Deed, Head, HeadState, NewRun, Trigger};

/// What is known of changes and branches, by project and subject.
#[derive(Debug, Default)]
pub(super) struct Book(BTreeMap<(ForgeName, String, String), Head>);

impl Book {
    pub(super) fn learn(&mut self, heads: impl IntoIterator<Item = Head>) {
        self.0.extend(heads.into_iter().map(|head| ((head.forge.clone(), head.project.clone(), head.subject.clone()), head)));
    }

    fn head(&self, forge: &ForgeName, project: &str, subject: &str) -> Option<&Head> {
        self.0.get(&(forge.clone(), project.to_owned(), subject.to_owned()))
    }
}

/// The project and the change or branch that something happened to.
pub(super) fn named(happening: &Happening) -> Option<(String, String)> {
    match happening {
        Happening::Proposed { head, .. } => Some((head.change.project.clone(), head.change.number.to_string())),
        Happening::Closed { change, .. } => Some((change.project.clone(), change.number.to_string())),
        Happening::Moved { project, ref_name, .. } => Some((project.clone(), ref_name.to_string())),
        Happening::BuildChanged { .. } | Happening::Missed => None,
    }
}

/// What has to have been compared before for this to be news, and not what was always so: a project, or its tags.
pub(super) fn scope(happening: &Happening) -> Option<String> {
    let (project, _) = named(happening)?;
    let tag = matches!(happening, Happening::Moved { ref_name, .. } if ref_name.as_str().starts_with(TAGS));
    Some(if tag { tags_of(&project) } else { project })
}

/// What of a project is compared.
pub(super) fn scopes(watched: &Watched) -> impl Iterator<Item = String> {
    std::iter::once(watched.project.clone()).chain(watched.tags.then(|| tags_of(&watched.project)))
}

fn tags_of(project: &str) -> String {
    format!("{project} {TAGS}")
}

/// Whether a rule for merges is about this branch.
pub(super) fn is_for_merges(config: &Config, forge: &ForgeName, happening: &Happening) -> bool {
    let Happening::Moved { project, ref_name, .. } = happening else { return false };
    let rules = config.project(forge, project).map(|(_, repository)| repository.on.as_slice()).unwrap_or_default();
    ref_name.as_str().starts_with(BRANCHES) && rules.iter().any(|rule| rule.when == When::Merged && covers(rule, ref_name))
}

const BRANCHES: &str = "refs/heads/";
const TAGS: &str = "refs/tags/";

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Planned {
    pub(super) deeds: Vec<Deed>,
    pub(super) heads: Vec<Head>,
    pub(super) repo: Option<RepoName>,
    /// Why nothing is done.
    pub(super) reason: Option<String>,
    /// Whether what is there has to be compared.
    pub(super) compare: bool,
    /// A change of which it is not known how it is now.
    pub(super) ask: Option<ChangeId>,
}

impl Planned {
    fn nothing(repo: Option<&RepoName>, reason: impl Into<String>) -> Self {
        Self { repo: repo.cloned(), reason: Some(reason.into()), ..Self::default() }
    }
}

/// Plans for one forge at one moment.
pub(super) struct Planner<'a> {
    pub(super) config: &'a Config,
    pub(super) forge: &'a ForgeName,
    pub(super) now: Timestamp,
    /// Whether the forge can be asked how a change is.
    pub(super) can_be_asked: bool,
}

/// A change under review, as it was told of.
struct Proposed<'a> {
    head: &'a ReviewHead,
    proposal: &'a Proposal,
    wip: bool,
    private: bool,
    hashtags: &'a [String],
    follows: Option<&'a CommitSha>,
    /// Whether it was found, and is so.
    found: bool,
}

impl Planner<'_> {
    /// What is to be done about what happened, or was found by a comparison that was asked for at `asked_at`.
    pub(super) fn plan(&self, happening: &Happening, book: &Book, asked_at: Option<Timestamp>) -> Planned {
        let Some((project, subject)) = named(happening) else {
            return match happening {
                Happening::Missed => Planned { compare: true, ..Planned::nothing(None, "What is there is compared with what is known.") },
                _ => Planned::nothing(None, "Its executor is looked at."),
            };
        };
        let Some((repo, repository)) = self.config.project(self.forge, &project) else {
            return Planned::nothing(None, format!("No repository is configured for the project {project}."));
        };
        let known = book.head(self.forge, &project, &subject);
        if let (Some(known), Some(asked_at)) = (known, asked_at)
            && known.at >= asked_at
        {
            return Planned::nothing(Some(repo), "Something newer was heard of it since.");
        }
        match happening {
            Happening::Proposed { head, proposal, wip, private, hashtags, follows } => {
                let (wip, private, follows, found) = (*wip, *private, follows.as_ref(), asked_at.is_some());
                self.proposed(repo, repository, &Proposed { head, proposal, wip, private, hashtags, follows, found }, known)
            }
            Happening::Closed { change, closing } => {
                let planned = self.closed(repo, change, *closing, known);
                // It may be open again, and that have been heard before.
                let unsure = *closing == Closing::Abandoned && asked_at.is_none() && self.can_be_asked;
                Planned { ask: unsure.then(|| change.clone()), ..planned }
            }
            Happening::Moved { ref_name, sha: Some(sha), merged, .. } => {
                if asked_at.is_some() && known.is_some_and(|known| known.sha == sha.as_str() && known.standing == HeadState::Handled) {
                    return Planned::nothing(Some(repo), "It is known.");
                }
                let planned = self.moved(repo, repository, &project, (ref_name, sha), merged.is_some());
                // Where it is a merge, another event says so, and may be lost: a comparison asks.
                let unsaid =
                    merged.is_none() && asked_at.is_none() && self.can_be_asked && is_for_merges(self.config, self.forge, happening);
                let held = |head: Head| if unsaid { Head { standing: HeadState::Held, ..head } } else { head };
                Planned { heads: planned.heads.into_iter().map(held).collect(), ..planned }
            }
            Happening::Moved { .. } => Planned {
                heads: known.map(|known| Head { standing: HeadState::Closed, ..known.clone() }).into_iter().collect(),
                ..Planned::nothing(Some(repo), "It was deleted.")
            },
            Happening::BuildChanged { .. } | Happening::Missed => Planned::default(),
        }
    }

    /// What is noted of what is there when a project is seen for the first time.
    pub(super) fn first_seen(&self, happening: &Happening, book: &Book) -> Vec<Head> {
        let Some((project, subject)) = named(happening) else { return Vec::new() };
        if book.head(self.forge, &project, &subject).is_some() {
            return Vec::new();
        }
        let (sha, patch_set) = match happening {
            Happening::Proposed { head, .. } => (head.sha.to_string(), head.patch_set),
            Happening::Moved { sha: Some(sha), .. } => (sha.to_string(), None),
            _ => return Vec::new(),
        };
        vec![self.head(&project, subject, sha, patch_set, HeadState::Handled)]
    }

    fn head(&self, project: &str, subject: String, sha: String, patch_set: Option<u32>, standing: HeadState) -> Head {
        Head { forge: self.forge.clone(), project: project.to_owned(), subject, sha, patch_set, standing, at: self.now }
    }

    fn proposed(&self, repo: &RepoName, repository: &RepositoryConfig, proposed: &Proposed<'_>, known: Option<&Head>) -> Planned {
        let Proposed { head, proposal, .. } = *proposed;
        let reviews = || repository.on.iter().filter(|rule| rule.when == When::Review && covers(rule, &head.branch));
        let wanted = |rule: &&Rule| rule.wants(head.topic.as_deref(), proposed.hashtags);
        let ready = |rule: &&Rule| (rule.wip || !proposed.wip) && (rule.private || !proposed.private);
        let mut rules: Vec<&Rule> = reviews().filter(wanted).filter(ready).collect();
        if let Some(known) = known {
            if let Some(reason) = overtaken(head, proposal, known) {
                // Somebody may have written on it just now what a rule waits for.
                rules.retain(|rule| rule.is_choosy());
                if proposed.found || !is_same(head, proposal, known) || rules.is_empty() {
                    return Planned::nothing(Some(repo), reason);
                }
            }
            if self.can_be_asked && is_doubtful(proposed, known) {
                let ask = Some(head.change.clone());
                return Planned {
                    ask,
                    ..Planned::nothing(Some(repo), "It may have been overtaken; the forge is asked how the change is.")
                };
            }
        }
        let standing = if rules.is_empty() { HeadState::Held } else { HeadState::Handled };
        // What is so now may have been stopped for something that only seemed newer.
        let held = known.is_some_and(|known| known.standing != HeadState::Handled || (proposed.found && known.sha != head.sha.as_str()));
        let again = match proposal {
            Proposal::Ready => Again::AfterStop,
            Proposal::Seen if held => Again::AfterStop,
            Proposal::Uploaded | Proposal::Seen => Again::Never,
            Proposal::Recheck { mark, .. } => Again::Asked { mark: format!("recheck {mark}") },
        };
        let origin = Origin::Review(head.clone());
        let mut deeds: Vec<Deed> = rules.iter().filter_map(|rule| self.start(repo, repository, rule, &origin, again.clone())).collect();
        let overtook = head.patch_set.map_or_else(|| "newer commits came".to_owned(), |number| format!("patch set {number} came"));
        deeds.push(Deed::Stop { change: head.change.clone(), but: Some(head.sha.clone()), by: self.principal(), reason: overtook });
        let reason = rules.is_empty().then(|| match (reviews().next(), reviews().find(wanted), proposed.wip) {
            (None, ..) => format!("No rule reviews changes for {}.", head.branch.short()),
            (Some(_), None, _) => format!("No rule reviews changes for {} with its topic and hashtags.", head.branch.short()),
            (Some(_), Some(_), true) => "The change is work in progress.".to_owned(),
            (Some(_), Some(_), false) => "The change is private.".to_owned(),
        });
        let number = head.change.number.to_string();
        let heads = vec![self.head(&head.change.project, number, head.sha.to_string(), head.patch_set, standing)];
        Planned { deeds, heads, repo: Some(repo.clone()), reason, ..Planned::default() }
    }

    fn closed(&self, repo: &RepoName, change: &ChangeId, closing: Closing, known: Option<&Head>) -> Planned {
        let reason = match closing {
            Closing::Merged => "the change was merged",
            Closing::Abandoned => "the change was abandoned",
            Closing::Deleted => "the change was deleted",
        };
        Planned {
            deeds: vec![Deed::Stop { change: change.clone(), but: None, by: self.principal(), reason: reason.to_owned() }],
            // Also where nothing was heard of it: what opened it may still be on its way.
            heads: vec![match known {
                Some(known) => Head { standing: HeadState::Closed, at: self.now, ..known.clone() },
                None => self.head(&change.project, change.number.to_string(), String::new(), None, HeadState::Closed),
            }],
            ..Planned::nothing(Some(repo), format!("{}{}; it has no run under way.", reason[..1].to_uppercase(), &reason[1..]))
        }
    }

    fn moved(
        &self,
        repo: &RepoName,
        repository: &RepositoryConfig,
        project: &str,
        (ref_name, sha): (&RefName, &CommitSha),
        merged: bool,
    ) -> Planned {
        let branch = ref_name.as_str().starts_with(BRANCHES);
        if !branch && !ref_name.as_str().starts_with(TAGS) {
            return Planned::nothing(Some(repo), format!("{ref_name} is neither a branch nor a tag."));
        }
        let applies = |rule: &&Rule| {
            covers(rule, ref_name)
                && match rule.when {
                    When::Review => false,
                    When::Merged => branch && merged,
                    When::Branch => branch,
                    When::Tag => !branch,
                }
        };
        let origin = Origin::Moved { forge: self.forge.clone(), project: project.to_owned(), ref_name: ref_name.clone(), sha: sha.clone() };
        let rules = repository.on.iter().filter(applies);
        let deeds: Vec<Deed> = rules.filter_map(|rule| self.start(repo, repository, rule, &origin, Again::Never)).collect();
        let reason = deeds.is_empty().then(|| format!("No rule is about {ref_name} moving."));
        let heads = vec![self.head(project, ref_name.to_string(), sha.to_string(), None, HeadState::Handled)];
        Planned { deeds, heads, repo: Some(repo.clone()), reason, ..Planned::default() }
    }

    /// The run that a rule asks for.
    fn start(&self, repo: &RepoName, repository: &RepositoryConfig, rule: &Rule, origin: &Origin, again: Again) -> Option<Deed> {
        let (ref_name, sha) = match origin {
            Origin::Review(head) => (&head.ref_name, &head.sha),
            Origin::Moved { ref_name, sha, .. } => (ref_name, sha),
            Origin::Api => return None,
        };
        // That there is one was checked with the configuration.
        let executor = rule.executor.clone().or_else(|| repository.executor.clone())?;
        let at = self.config.executors.get(&executor)?;
        let environment = rule.environment.clone().or_else(|| repository.environment.clone());
        let deploy = rule.artifact.clone().zip(environment).and_then(|(artifact, environment)| {
            let name = rule.published_name.clone().or_else(|| Option::<PublishedName>::from(artifact.clone()))?;
            Some((artifact, DeployTarget { environment, name }))
        });
        let trigger = Trigger { subject: subject(origin), sha: sha.clone(), purpose: rule.purpose(), again };
        let order = CdOrder {
            repo: repo.clone(),
            source: repository.source.clone(),
            ref_name: ref_name.clone(),
            job: rule.job.clone(),
            executor,
            inputs: rule.inputs.clone(),
            artifacts: rule.artifacts.clone(),
            deploy,
            origin: origin.clone(),
            publish: rule.publish,
            vote: rule.vote,
            route: repository.route(at),
        };
        let run = NewRun { principal: self.principal(), request: Request::Cd(Box::new(order)), idempotency: None };
        Some(Deed::Start { run: Box::new(run), trigger })
    }

    fn principal(&self) -> String {
        format!("forge:{}", self.forge)
    }
}

/// Why what was told of a change is too late, if it is.
fn overtaken(head: &ReviewHead, proposal: &Proposal, known: &Head) -> Option<String> {
    if let (Some(told), Some(newest)) = (head.patch_set, known.patch_set)
        && told < newest
    {
        return Some(format!("Patch set {newest} is newer."));
    }
    let same = known.sha == head.sha.as_str();
    match (proposal, known.standing) {
        (Proposal::Uploaded, HeadState::Closed) if same || known.sha.is_empty() => Some("The change is closed.".to_owned()),
        _ => is_same(head, proposal, known).then(|| "It is known.".to_owned()),
    }
}

/// Whether nothing about its commits is new.
fn is_same(head: &ReviewHead, proposal: &Proposal, known: &Head) -> bool {
    *proposal == Proposal::Seen && known.standing == HeadState::Handled && known.sha == head.sha.as_str()
}

/// Whether what was told of a change may have been overtaken by what is known of it. Nothing was, where the forge counts patch
/// sets, or says which commit came before.
fn is_doubtful(proposed: &Proposed<'_>, known: &Head) -> bool {
    if proposed.found {
        return false;
    }
    match known.standing {
        HeadState::Closed => *proposed.proposal != Proposal::Ready,
        HeadState::Handled | HeadState::Held => {
            let other = known.sha != proposed.head.sha.as_str();
            let follows = proposed.follows.is_some_and(|follows| known.sha == follows.as_str());
            other && proposed.head.patch_set.is_none() && !follows
        }
    }
}

/// Whether a rule is about this branch or tag.
fn covers(rule: &Rule, name: &RefName) -> bool {
    rule.branches.iter().any(|glob| glob.matches(name.short()))
}
