//! What the controller makes of its configuration of forges and rules.

use signalbox_controller::Config;
use signalbox_controller::config::ExecutorKind;
use signalbox_service::secret::{SecretString, write_secret};

const SERVICES: &str =
    "vcs_worker = \"http://127.0.0.1:1\"\nartifact_store = \"http://127.0.0.1:2\"\ndeploy_worker = \"http://127.0.0.1:3\"\n";

/// What is made of this configuration: the controller's, or all that is wrong with it.
fn read(text: &str) -> Result<Config, String> {
    let folder = tempfile::tempdir().expect("a folder");
    signalbox_service::auth::init_keys(&folder.path().join("keys")).expect("keys");
    write_secret(&folder.path().join("token"), &SecretString::from("token-000000000000000")).expect("a token");
    let file = folder.path().join("controller.toml");
    std::fs::write(&file, format!("{SERVICES}{text}")).expect("written");
    Config::load(&file).map_err(|errors| errors.to_string())
}

#[test]
fn everything_that_is_wrong_with_forges_and_rules_is_said_at_once() {
    let text = "
        [executors.local]\nurl = \"http://127.0.0.1:4\"\n[executors.spare]\nurl = \"http://127.0.0.1:5\"
        [forges.odd]\nkind = \"subversion\"\nurl = \"https://svn.example.org\"
        [forges.review]\nkind = \"gerrit\"\nurl = \"https://review.example.org\"\nlabel = \"very good\"\nnotify = \"the press\"
        secret_files = [\"nothing\"]\n[forges.review.ssh]\nkey_file = \"key\"
        [forges.lab]\nkind = \"gitlab\"\nurl = \"https://gitlab.example.org\"\nstatus = \"\"\ntolerance = \"2d\"\nrecheck = [\" \"]
        [repositories.one]\nsource = \"https://git.example.org/one\"\nforge = \"elsewhere\"
        [[repositories.one.on]]\nevent = \"full moon\"\nexecutor = \"gone\"
        [[repositories.one.on]]\nevent = \"branch\"\nartifact = \"site/one\"\nbranches = [\"a b\"]
        [repositories.two]\nsource = \"https://git.example.org/two\"\nexecutor = \"local\"\nforge = \"lab\"\nproject = \"team/two\"
        [[repositories.two.on]]\nevent = \"branch\"\nbranches = [\"main\"]
        [[repositories.two.on]]\nevent = \"branch\"\nbranches = [\"next\"]
        [repositories.three]\nsource = \"https://git.example.org/three\"\nexecutor = \"local\"\nproject = \"team/three\"
        [[repositories.three.on]]\nevent = \"tag\"\nenvironment = \"test\"\nwhenever = true";
    let wrong = read(text).expect_err("it is wrong");
    let expected = [
        "must be gerrit or gitlab",
        "forges.review.user",
        "forges.review.label",
        "must be nobody, owner or reviewers",
        "the secret in",
        "forges.review.ssh.known_hosts",
        "names a private key that cannot be used",
        "forges.lab.status",
        "forges.lab.tolerance",
        "forges.lab.recheck",
        "names elsewhere, which is not among [forges]",
        "must be given where there is a forge",
        "must be review, merged, branch or tag",
        "names gone, which is not among [executors]",
        "branches",
        "environment: must be given: the repository has no default",
        "two rules for the same event that do the same",
        "makes sense only with a forge",
        "must be given where something is deployed",
        "whenever",
    ];
    let missing: Vec<&str> = expected.into_iter().filter(|words| !wrong.contains(words)).collect();
    assert!(missing.is_empty(), "{missing:#?} in\n{wrong}");
}

#[test]
fn numbers_are_refused_with_the_bounds_of_their_keys() {
    let text = "queue = -1\n[executors.local]\nurl = \"http://127.0.0.1:4\"\ncapacity = -1
        [forges.review]\nkind = \"gerrit\"\nurl = \"https://review.example.org\"\nuser = \"ci\"\npassed = 128";
    let wrong = read(text).expect_err("it is wrong");
    for words in [
        ":4: queue: must be between 1 and 1000000",
        ":7: executors.local.capacity: must be between 1 and 10000",
        ":12: forges.review.passed: must be between -10 and 10",
    ] {
        assert!(wrong.lines().any(|line| line.ends_with(words)), "{words} in\n{wrong}");
    }
}

#[test]
fn a_project_is_one_repositorys() {
    let text = "
        [executors.local]\nurl = \"http://127.0.0.1:4\"\n[forges.lab]\nkind = \"gitlab\"\nurl = \"https://gitlab.example.org\"
        [repositories.one]\nsource = \"https://git.example.org/one\"\nforge = \"lab\"\nproject = \"team/hello\"
        [repositories.two]\nsource = \"https://git.example.org/two\"\nforge = \"lab\"\nproject = \"team/hello\"";
    let wrong = read(text).expect_err("it is wrong");
    assert!(wrong.contains("the same project of a forge for one and two"), "{wrong}");
}

#[test]
fn a_hook_is_about_the_executors_of_its_own_gitlab() {
    let executor = |name: &str, url: &str| {
        format!("[executors.{name}]\nkind = \"gitlab\"\nurl = \"{url}\"\ntoken_file = \"token\"\nmirror = \"m\"\ngroup = \"cd\"\n")
    };
    let text = [
        executor("here", "https://gitlab.example.org"),
        executor("too", "https://gitlab.example.org:443/"),
        executor("below", "https://gitlab.example.org/below"),
        executor("there", "https://gitlab.example.com"),
        "[executors.local]\nurl = \"http://127.0.0.1:4\"\n[forges.lab]\nkind = \"gitlab\"\nurl = \"https://gitlab.example.org/\"
         [forges.review]\nkind = \"gerrit\"\nurl = \"https://gitlab.example.org\"\nuser = \"signalbox\""
            .to_owned(),
    ];
    let config = read(&text.concat()).expect("it is right");
    let at = |forge: &str| config.executors_at(&forge.parse().expect("a name")).map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(at("lab"), ["here", "too"]);
    assert!(at("review").is_empty() && at("nothing").is_empty());
}

#[test]
fn a_webhook_leads_to_the_forge_at_its_gitlab_and_of_several_to_the_one_that_is_named() {
    let executor = "public_url = \"https://signalbox.example.org\"\n[executors.far]\nkind = \"gitlab\"\nurl = \"https://gitlab.example.org\"\n\
                    token_file = \"token\"\nmirror = \"m\"\ngroup = \"cd\"\nhook = true\n";
    let forge = |name: &str, url: &str, secret: &str| format!("[forges.{name}]\nkind = \"gitlab\"\nurl = \"{url}\"\n{secret}");
    let (here, with) = ("https://gitlab.example.org/", "secret_files = [\"token\"]\n");
    let leads = |more: &str, forges: &[String]| {
        let text = format!("{executor}{more}{}", forges.concat());
        let config = read(&text)?;
        let terms = config.executors.values().find_map(|executor| match &executor.kind {
            ExecutorKind::GitLab(gitlab) => config.hook_of(gitlab),
            ExecutorKind::Local { .. } => None,
        });
        Ok::<String, String>(terms.expect("a webhook").url.path().to_owned())
    };
    let deaf = forge("a-deaf-one", here, "");
    let elsewhere = forge("elsewhere", "https://gitlab.example.com", with);
    let (lab, other) = (forge("lab", here, with), forge("other", here, with));
    assert_eq!(leads("", &[deaf.clone(), elsewhere.clone(), lab.clone()]).as_deref(), Ok("/webhooks/lab"));
    assert_eq!(leads("hook_forge = \"other\"\n", &[lab.clone(), other.clone()]).as_deref(), Ok("/webhooks/other"));
    for (more, forges, words) in [
        ("", vec![lab, other], "hook: could lead to several forges at that url (lab, other): name one of them, hook_forge = \"lab\""),
        ("", vec![deaf, elsewhere.clone()], "hook: needs a table [forges.NAME]"),
        ("hook_forge = \"elsewhere\"\n", vec![elsewhere], "hook_forge: names elsewhere, and there is no table [forges.elsewhere] with"),
    ] {
        let wrong = leads(more, &forges).expect_err("it is wrong");
        assert!(wrong.contains(&format!("executors.far.{words}")), "{words} in\n{wrong}");
    }
}

#[test]
fn inputs_of_rules_and_secrets_to_mask_are_such_as_can_be_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let short = folder.path().join("short");
    write_secret(&short, &SecretString::from("12345")).expect("a secret");
    let text = format!(
        "[executors.local]\nurl = \"http://127.0.0.1:4\"
        [forges.review]\nkind = \"gerrit\"\nurl = \"https://review.example.org\"\nuser = \"ci\"
        [repositories.one]\nsource = \"https://git.example.org/one\"\nexecutor = \"local\"\nforge = \"review\"\nproject = \"one\"
        [[repositories.one.on]]\nevent = \"review\"\ninputs = {{ LD_PRELOAD = \"x\" }}
        [[mask]]\nfile = \"token\"
        [[mask]]\nfile = \"{}\"",
        short.display()
    );
    let wrong = read(&text).expect_err("it is wrong");
    let line = text.lines().count() + SERVICES.lines().count();
    assert!(wrong.contains(&format!(":{line}: mask[2].file: holds fewer than 6 bytes")), "{line}: {wrong}");
    assert!(wrong.contains("LD_PRELOAD, a name that no input may have"), "{wrong}");
    assert!(!wrong.contains("12345") && !wrong.contains("mask[1]"), "{wrong}");
}
