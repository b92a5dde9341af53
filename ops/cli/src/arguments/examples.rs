//! An example of each command that needs more than its name: in its help, and where something is missing.

use clap::Command;
use clap::error::{ContextKind, ContextValue};

/// Commands with one example each.
const EXAMPLES: &[(&str, &str)] = &[
    ("cd", "signalbox cd hello --ref main --artifact hello.txt --follow"),
    ("show", "signalbox show 01m82j33x4e2h859xktfak5t8y"),
    ("logs", "signalbox logs 01m82j33x4e2h859xktfak5t8y --follow"),
    ("stop", "signalbox stop 01m82j33x4e2h859xktfak5t8y"),
    ("rerun", "signalbox rerun 01m82j33x4e2h859xktfak5t8y --follow"),
    ("blobs versions", "signalbox blobs versions hello.txt"),
    ("blobs get", "signalbox blobs get hello.txt --output hello.txt"),
    ("blobs put", "signalbox blobs put hello.txt ./hello.txt"),
    ("blobs delete", "signalbox blobs delete hello.txt"),
    ("deploy", "signalbox deploy test hello.txt --follow"),
    ("rollback", "signalbox rollback test hello.txt --follow"),
    ("deliveries show", "signalbox deliveries show 7"),
    ("deliveries replay", "signalbox deliveries replay 7"),
    ("token create", "signalbox token create alice --allow read,start --repos hello --artifacts '*' --output alice.token"),
    ("token revoke", "signalbox token revoke --file alice.token"),
    ("init", "signalbox init /srv/signalbox"),
    ("up", "signalbox up /srv/signalbox"),
    ("controller", "signalbox controller --config /srv/signalbox/controller.toml"),
    ("vcs-worker", "signalbox vcs-worker --config /srv/signalbox/vcs-worker.toml"),
    ("artifact-store", "signalbox artifact-store --config /srv/signalbox/artifact-store.toml"),
    ("deploy-worker", "signalbox deploy-worker --config /srv/signalbox/deploy-worker.toml"),
    ("local-executor", "signalbox local-executor --config /srv/signalbox/local-executor.toml"),
    ("keys init", "signalbox keys init /srv/signalbox/keys"),
    ("keys next", "signalbox keys next /srv/signalbox/keys"),
    ("keys rotate", "signalbox keys rotate /srv/signalbox/keys"),
    ("fake gitlab", "signalbox fake gitlab --data gitlab --project mirrors/hello"),
    ("completions", "signalbox completions bash"),
];

/// The whole command line, with the examples in the commands' help.
pub(super) fn shown_in(command: Command) -> Command {
    shown_below(command, "")
}

fn shown_below(command: Command, path: &str) -> Command {
    command.mut_subcommands(|below| {
        let path = format!("{path} {}", below.get_name());
        let path = path.trim_start();
        let below = shown_below(below, path);
        match example(path) {
            Some(example) => below.after_help(format!("Example:\n  {example}")),
            None => below,
        }
    })
}

fn example(path: &str) -> Option<&'static str> {
    EXAMPLES.iter().find(|(known, _)| *known == path).map(|(_, example)| *example)
}

/// The command that was typed as `words`: its names, and what it takes.
fn meant(whole: &Command, words: impl Iterator<Item = String>) -> (String, &Command) {
    let (mut command, mut path) = (whole, vec![whole.get_name()]);
    for word in words {
        if let Some(below) = command.find_subcommand(&word) {
            command = below;
            path.push(below.get_name());
        }
    }
    (path.join(" "), command)
}

/// That a command is missing from what was typed as `words`.
pub(crate) fn no_command(words: impl Iterator<Item = String>) -> String {
    format!("a command is missing; `{} --help` lists them", meant(&super::whole(), words).0)
}

/// What is missing from a command that was typed as `words`, and what it would look like: a sentence.
pub(crate) fn missing(error: &clap::Error, words: impl Iterator<Item = String>) -> Option<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return None };
    let mut whole = super::whole();
    whole.build();
    let (path, command) = meant(&whole, words);
    let what: Vec<String> = missing
        .iter()
        .map(|name| {
            let argument = command.get_arguments().find(|argument| argument.to_string() == *name);
            let help = argument.and_then(|argument| argument.get_help()).map(ToString::to_string);
            help.map_or_else(|| name.clone(), |help| format!("{name} ({})", begun_small(&help)))
        })
        .collect();
    let example = path.split_once(' ').and_then(|(_, path)| example(path)).map(|example| format!("; for example: {example}"));
    Some(format!("`{path}` needs {}{}", what.join(" and "), example.unwrap_or_default()))
}

/// A sentence as it stands within another one.
fn begun_small(sentence: &str) -> String {
    let mut letters = sentence.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_need(command: &Command, path: &str, found: &mut Vec<String>) {
        if command.get_arguments().any(clap::Arg::is_required_set) {
            found.push(path.to_owned());
        }
        for below in command.get_subcommands() {
            in_need(below, format!("{path} {}", below.get_name()).trim(), found);
        }
    }

    #[test]
    fn each_command_that_needs_something_has_an_example_and_each_example_can_be_typed() {
        let mut found = Vec::new();
        in_need(&super::super::whole(), "", &mut found);
        let hidden = ["openapi"];
        found.retain(|path| !hidden.contains(&path.as_str()));
        for path in &found {
            assert!(EXAMPLES.iter().any(|(known, _)| known == path), "{path}");
        }
        for (path, example) in EXAMPLES {
            let words = example.split(' ').map(|word| word.trim_matches('\''));
            assert!(example.starts_with(&format!("signalbox {path} ")), "{example}");
            super::super::whole().try_get_matches_from(words).unwrap_or_else(|error| panic!("{example}: {error}"));
        }
    }
}
