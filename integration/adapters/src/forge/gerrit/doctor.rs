//! Whether a Gerrit can be used as it is configured, looked at from here.

use std::time::Duration;

use serde_json::Value;
use signalbox_service::process::Bounds;
use signalbox_service::ssh::distrust;
use signalbox_service::telemetry::causes;

use super::rest::{Ask, Rest, RestError};
use super::ssh::command;
use super::{Gerrit, GerritSettings};
use crate::forge::payload::{at, cut, flag, text};
use crate::forge::{Finding, Severity};

/// How far its clock may be from ours: events-log and signatures go by the second, but people's clocks do not.
const APART: Duration = Duration::from_secs(30);

/// How long ssh may take to say its version.
const SSH: Duration = Duration::from_secs(30);

/// Looks at everything that is needed, and says of each whether it is so and what to do.
pub(super) async fn examine(gerrit: &Gerrit, projects: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let settings = &gerrit.settings;
    match &gerrit.rest {
        None => findings.push(fault(
            "There is no HTTP password: nothing can be compared, and no vote given.",
            "Make one in Gerrit (Settings, HTTP Credentials) and name its file in the configuration.",
        )),
        Some(rest) => {
            findings.push(account(gerrit, rest).await);
            if settings.ssh.is_some() {
                findings.push(capability(rest).await);
            }
            for project in projects {
                findings.push(label(rest, settings, project).await);
            }
        }
    }
    match &settings.ssh {
        None if settings.secrets.is_empty() => findings.push(fault(
            "There is neither a stream over ssh nor a secret for webhooks: changes are found by comparing alone, minutes later.",
            "Configure the stream, or a secret for the webhooks' path.",
        )),
        None => findings.push(fine("Events come by webhooks; what they lose is found by comparing.")),
        Some(ssh) => {
            let said = command(ssh, &settings.user, "ERROR", &["gerrit", "version"]).run(Bounds::new(SSH)).await;
            findings.push(match said {
                Ok(output) if output.status.success() => {
                    let version = String::from_utf8_lossy(&output.stdout);
                    fine(format!("The stream's host answers by ssh: {}.", cut(version.trim(), 80)))
                }
                Ok(output) => {
                    let said = String::from_utf8_lossy(&output.stderr);
                    let distrusted = distrust(&said);
                    let hint = if distrusted.is_some() {
                        "Compare the key with what the server's administrators say, and put it, as `ssh-keyscan -p PORT HOST` prints it, \
                         into the forge's `known_hosts`."
                    } else {
                        "Add the key's public half to the account (Settings, SSH Keys), and check host, port and user."
                    };
                    let words = distrusted.unwrap_or_else(|| said.into_owned()).replace(char::is_control, " ");
                    fault(format!("ssh to the stream's host fails: {}", cut(words.trim(), 300)), hint)
                }
                Err(error) => {
                    fault(format!("ssh to the stream's host fails: {}", causes(&error)), "Check host and port, and that ssh is installed.")
                }
            });
        }
    }
    findings
}

/// The account, and by the way the clock.
async fn account(gerrit: &Gerrit, rest: &Rest) -> Finding {
    let answer = match rest.call(Ask::get(&["accounts", "self"])).await {
        Ok(answer) => answer,
        Err(error) => return of_error(&error, "The account cannot be used"),
    };
    let apart = Rest::clock(&answer.headers).map(|theirs| gerrit.clock.now().duration_since(theirs).unsigned_abs());
    match apart.filter(|apart| *apart > APART) {
        Some(apart) => fault(
            format!("The clocks of Gerrit and of this machine are {} seconds apart.", apart.as_secs()),
            "Have both set their clocks by NTP.",
        ),
        None => fine(format!("The account {} can be used.", gerrit.settings.user)),
    }
}

async fn capability(rest: &Rest) -> Finding {
    match rest.json(Ask::get(&["accounts", "self", "capabilities"])).await {
        // An administrator may do all.
        Ok(all) if flag(&all, &["streamEvents"]) || flag(&all, &["administrateServer"]) => fine("The account may stream events."),
        Ok(_) => fault(
            "The account may not stream events.",
            "Give its group the global capability Stream Events, in the access settings of All-Projects.",
        ),
        Err(error) => of_error(&error, "What the account may do cannot be read"),
    }
}

/// Whether the project has our label, with our values.
async fn label(rest: &Rest, settings: &GerritSettings, project: &str) -> Finding {
    let labels = rest.json(Ask::get(&["projects", project, "labels", ""]).query(&[("inherited", "")])).await;
    let labels = match labels {
        Ok(Value::Array(labels)) => labels,
        // Labels are listed for those who may read the project's configuration. What open changes show tells as much.
        Ok(_) | Err(RestError::Said { .. }) => return permitted(rest, settings, project).await,
        Err(error) => return of_error(&error, &format!("The labels of {project} cannot be read")),
    };
    let ours = labels.iter().find(|label| text(label, &["name"]) == Some(&settings.label));
    let has = |value: i8| {
        let values = ours.and_then(|label| at(label, &["values"])).and_then(Value::as_object);
        values.is_some_and(|values| values.keys().any(|key| key.trim().parse() == Ok(value)))
    };
    if has(settings.passed) && has(settings.failed) {
        return permitted(rest, settings, project).await;
    }
    fault(
        format!("{project} has no label {} with the values {:+} and {:+}.", settings.label, settings.passed, settings.failed),
        "Define it in the project's labels or in those of All-Projects, or name another in the configuration.",
    )
}

/// Whether we may give our votes, as the newest open change shows it.
async fn permitted(rest: &Rest, settings: &GerritSettings, project: &str) -> Finding {
    let wanted = format!("status:open project:\"{project}\"");
    let query = [("q", wanted.as_str()), ("n", "1"), ("o", "DETAILED_LABELS")];
    let changes = match rest.json(Ask::get(&["changes", ""]).query(&query)).await {
        Ok(changes) => changes,
        Err(error) => return of_error(&error, &format!("The changes of {project} cannot be read")),
    };
    let Some(change) = changes.as_array().and_then(|changes| changes.first()) else {
        return fine(format!("{project} has no open change; whether we may vote is seen on the first."));
    };
    let values = at(change, &["permitted_labels", &settings.label]).and_then(Value::as_array);
    let may = |value: i8| values.into_iter().flatten().filter_map(Value::as_str).any(|one| one.trim().parse() == Ok(value));
    if may(settings.passed) && may(settings.failed) {
        return fine(format!("The account may vote {:+} and {:+} on {} in {project}.", settings.passed, settings.failed, settings.label));
    }
    fault(
        format!("The account may not vote {:+} and {:+} on {} in {project}.", settings.passed, settings.failed, settings.label),
        "Give its group the right to vote on this label, with this range, on refs/heads/*.",
    )
}

fn of_error(error: &RestError, what: &str) -> Finding {
    let hint = match error {
        RestError::Said { status, .. } if status.as_u16() == 401 => {
            "Check the account's name and its HTTP password (Settings, HTTP Credentials)."
        }
        RestError::Said { .. } => "Look at what the account may do, and at Gerrit's log.",
        RestError::Redirected { .. } => "Configure the address that Gerrit itself has, its canonicalWebUrl; redirects are not followed.",
        RestError::Unreachable(_) | RestError::Unreadable(_) => "Check the address, and whether a proxy stands in between.",
    };
    fault(format!("{what}: {}.", causes(error)), hint)
}

fn fine(detail: impl Into<String>) -> Finding {
    Finding::new(Severity::Fine, detail, "")
}

fn fault(detail: impl Into<String>, hint: &str) -> Finding {
    Finding::new(Severity::Error, detail, hint)
}
