//! A push: what is asked for, who may, and what came of it.

use serde_json::{Map, Value};

use super::NOTHING;
use crate::gitlab::state::State;
use crate::gitlab::state::project::Project;
use crate::gitlab::state::user::level;

/// The most commands and options of one push.
const MOST: usize = 10_000;

/// A ref that is to change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) ref_name: String,
}

/// The beginning of a push: what is to change, and the options.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) changes: Vec<Change>,
    pub(crate) options: Vec<String>,
}

/// What came of a push.
#[derive(Debug, Clone)]
pub(crate) struct Pushed {
    pub(crate) project: u64,
    pub(crate) user: u64,
    pub(crate) changes: Vec<Change>,
    pub(crate) options: Vec<String>,
}

/// How far the beginning of a push was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// There is more to come.
    Incomplete,
    /// This is it.
    Whole(Request),
    /// It is no push.
    Broken,
}

/// Reads the beginning of a push: lines with their length before them, up to the pack.
pub(crate) fn read(bytes: &[u8]) -> Reading {
    let mut request = Request::default();
    let (mut at, mut in_options, mut has_options) = (0, false, false);
    loop {
        let Some(head) = bytes.get(at..at + 4) else {
            return Reading::Incomplete;
        };
        let Some(length) = std::str::from_utf8(head).ok().and_then(|head| usize::from_str_radix(head, 16).ok()) else {
            return Reading::Broken;
        };
        if length == 0 {
            at += 4;
            if in_options || !has_options {
                return Reading::Whole(request);
            }
            in_options = true;
            continue;
        }
        if length < 4 || request.changes.len() + request.options.len() > MOST {
            return Reading::Broken;
        }
        let Some(line) = bytes.get(at + 4..at + length) else {
            return Reading::Incomplete;
        };
        at += length;
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end_matches('\n');
        if in_options {
            request.options.push(line.to_owned());
            continue;
        }
        let (line, capabilities) = line.split_once('\0').unwrap_or((line, ""));
        has_options |= capabilities.split(' ').any(|capability| capability == "push-options");
        let mut words = line.splitn(3, ' ');
        match (words.next(), words.next(), words.next()) {
            (Some(old), Some(new), Some(name)) if old.len() == new.len() && old.len() >= 40 => {
                request.changes.push(Change { old: old.to_owned(), new: new.to_owned(), ref_name: name.to_owned() });
            }
            // A shallow client says where its history ends.
            (Some("shallow"), Some(_), None) => {}
            _ => return Reading::Broken,
        }
    }
}

/// What git is to be told about a push before it begins.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Judgement {
    /// Why nothing of it is taken.
    pub(crate) refusal: Option<String>,
    /// Refs that may not be pushed by force.
    pub(crate) no_force: Vec<String>,
}

/// Judges a push as far as that needs no look at the commits.
pub(crate) fn judge(state: &State, project: &Project, user: u64, request: &Request) -> Judgement {
    let mut judgement = Judgement::default();
    let access = state.level(user, project);
    for change in &request.changes {
        let refusal = if let Some(branch) = change.ref_name.strip_prefix("refs/heads/") {
            judge_branch(project, user, access, change, branch, &mut judgement.no_force).or_else(|| judge_name(project, branch))
        } else if let Some(tag) = change.ref_name.strip_prefix("refs/tags/") {
            judge_tag(project, access, change, tag)
        } else {
            None
        };
        if refusal.is_some() {
            judgement.refusal = refusal;
            return judgement;
        }
    }
    judgement
}

fn judge_branch(project: &Project, user: u64, access: u32, change: &Change, branch: &str, no_force: &mut Vec<String>) -> Option<String> {
    let deletes = change.new == NOTHING;
    if deletes && project.default_branch.as_deref() == Some(branch) {
        return Some("The default branch of a project cannot be deleted.".to_owned());
    }
    if project.default_branch.is_none() {
        // While there is no branch, every branch would become the default one, which is protected.
        let words = "You are not allowed to push code to protected branches on this project.";
        return (access < level::MAINTAINER).then(|| words.to_owned());
    }
    let protection = project.protection(branch)?;
    if deletes {
        let words = if access >= level::MAINTAINER {
            "You can only delete protected branches using the web interface."
        } else {
            "You are not allowed to delete protected branches from this project. Only a project maintainer or owner can delete a protected branch."
        };
        return Some(words.to_owned());
    }
    let may = (protection.push != level::NONE && access >= protection.push) || protection.users.contains(&user);
    if !may {
        return Some("You are not allowed to push code to protected branches on this project.".to_owned());
    }
    if !protection.allow_force_push {
        no_force.push(change.ref_name.clone());
    }
    None
}

fn judge_name(project: &Project, branch: &str) -> Option<String> {
    let pattern = project.push_rules.branch_name_regex.as_ref()?;
    let fits = regex::Regex::new(pattern).is_ok_and(|regex| regex.is_match(branch));
    (!fits).then(|| format!("Branch name '{branch}' does not follow the pattern '{pattern}'"))
}

fn judge_tag(project: &Project, access: u32, change: &Change, tag: &str) -> Option<String> {
    let protected = project.protected_tags.iter().find(|(pattern, _)| crate::gitlab::state::project::matches(pattern, tag));
    if let Some((_, least)) = protected {
        if change.old != NOTHING {
            return Some("Protected tags cannot be updated.".to_owned());
        }
        if access < *least || *least == level::NONE {
            return Some("You are not allowed to create this tag as it is protected.".to_owned());
        }
    }
    (change.old != NOTHING && access < level::MAINTAINER).then(|| "You are not allowed to change existing tags on this project.".to_owned())
}

/// Push options, as hooks are told them: `ci.variable="A=1"` becomes `{"ci":{"variable":{"A=1":1}}}`.
pub(crate) fn nested(options: &[String]) -> Value {
    let mut all = Map::new();
    for option in options {
        let (key, value) = option.split_once('=').map_or((option.as_str(), None), |(key, value)| (key, Some(value)));
        let key = if key == "mr" || key.starts_with("mr.") { key.replacen("mr", "merge_request", 1) } else { key.to_owned() };
        let Some((space, name)) = key.split_once('.') else {
            continue;
        };
        let Some(space) = all.entry(space).or_insert_with(|| Value::Object(Map::new())).as_object_mut() else {
            continue;
        };
        match (name, value) {
            ("variable" | "input" | "label" | "assign", Some(value)) => {
                let many = space.entry(name).or_insert_with(|| Value::Object(Map::new()));
                if let Some(many) = many.as_object_mut() {
                    many.insert(value.to_owned(), 1.into());
                }
            }
            (name, Some(value)) => drop(space.insert(name.to_owned(), value.into())),
            (name, None) => drop(space.insert(name.to_owned(), true.into())),
        }
    }
    Value::Object(all)
}

impl Pushed {
    /// Whether an option was given.
    pub(crate) fn has(&self, option: &str) -> bool {
        self.options.iter().any(|given| given == option || given == &format!("{option}=true"))
    }

    /// The value of an option.
    pub(crate) fn value(&self, option: &str) -> Option<&str> {
        self.options.iter().find_map(|given| given.strip_prefix(option)?.strip_prefix('='))
    }

    /// All values of an option that may be given often, as names and values.
    pub(crate) fn pairs<'a>(&'a self, option: &'a str) -> impl Iterator<Item = (String, String)> + 'a {
        self.options.iter().filter_map(move |given| {
            let value = given.strip_prefix(option)?.strip_prefix('=')?.trim_matches('"');
            value.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> String {
        format!("{:04x}{text}", text.len() + 4)
    }

    #[test]
    fn the_beginning_of_a_push_is_read_wherever_the_bytes_are_cut() {
        let (a, b) = ("a".repeat(40), "0".repeat(40));
        let bytes = [
            line(&format!("{b} {a} refs/heads/main\0report-status push-options agent=git")),
            line(&format!("{a} {b} refs/heads/old\n")),
            "0000".to_owned(),
            line("ci.skip"),
            "0000".to_owned(),
        ]
        .concat();
        for cut in 0..bytes.len() {
            assert_eq!(read(&bytes.as_bytes()[..cut]), Reading::Incomplete, "cut at {cut}");
        }
        let Reading::Whole(request) = read(format!("{bytes}PACK").as_bytes()) else {
            panic!("it is whole");
        };
        assert_eq!(request.options, ["ci.skip"]);
        assert_eq!(request.changes.len(), 2);
        assert_eq!(request.changes[1].ref_name, "refs/heads/old");
        assert_eq!(read(b"zzzz"), Reading::Broken);
    }

    #[test]
    fn options_are_told_in_their_nested_form() {
        let told = nested(&["ci.skip".to_owned(), "ci.variable=A=1".to_owned(), "mr.target=main".to_owned()]);
        assert_eq!(told, serde_json::json!({ "ci": { "skip": true, "variable": { "A=1": 1 } }, "merge_request": { "target": "main" } }));
    }
}
