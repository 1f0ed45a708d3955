//! Every kind of bad input: refused before anything runs, with the right exit code and a message that helps.

use super::{testbed, testbed_in};

/// A suite that is good until a test spoils it.
const SUITE: &str = r#"name = "mine"
summary = "one cell"
topology = "pair"

[axes]
nat-a = ["port-preserving"]
nat-b = ["port-preserving"]
method = ["simultaneous-open"]
"#;

/// What `testbed plan` says of a suite in a file.
fn plan_of(text: &str) -> super::Done {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("mine.toml"), text).expect("room on the disk");
    testbed_in(folder.path(), &["plan", "mine.toml"])
}

#[test]
fn an_unknown_suite() {
    let help = "  help: did you mean \"classic\"? there are ";
    testbed(&["plan", "clasic"]).refused(2, &format!("testbed: unknown suite \"clasic\"\n{help}"));
    testbed(&["plan", "./none.toml"])
        .refused(2, "testbed: cannot read the suite \"./none.toml\": No such file");
    testbed(&["run", "./none.toml"])
        .refused(2, "\n  help: give the path of a suite, or a name that this prints: testbed list");
    testbed(&["run", "classic", "--nats", "none.toml"]).refused(
        2,
        "No such file or directory (ENOENT)\n  help: --nats takes a file of NATs, as testbed nat measure",
    );
}

#[test]
fn a_suite_with_an_unknown_nat() {
    plan_of(&SUITE.replacen("port-preserving", "port-preservin", 1)).refused(
        2,
        "testbed: mine.toml:6: unknown NAT \"port-preservin\"\n  help: did you mean \"port-preserving\"? list them with: testbed nat list\n",
    );
}

#[test]
fn a_suite_with_an_unknown_method() {
    plan_of(&SUITE.replace("simultaneous-open", "simultaneous-opne"))
        .refused(2, "testbed: mine.toml:8: unknown method \"simultaneous-opne\"\n  help: did you mean");
    testbed(&["plan", "classic", "--method", "simultaneous-opne"]).refused(
        2,
        "testbed: unknown method \"simultaneous-opne\"\n  help: did you mean \"simultaneous-open\"?",
    );
}

#[test]
fn a_method_of_an_own_program_that_is_nearly_a_known_one_is_told_and_not_refused() {
    let own = format!("{SUITE}[program]\npeer = [\"/bin/true\"]\njudge = \"exit\"\nredial = \"none\"\n");
    let folder = tempfile::tempdir().expect("a folder");
    let of = |method: &str, command: &[&str]| {
        let text = own.replace("simultaneous-open", method);
        std::fs::write(folder.path().join("mine.toml"), text).expect("room on the disk");
        testbed_in(folder.path(), command)
    };
    let warning = "testbed: warning: mine.toml:8: theory does not know the method \"simultanous-open\", so that it \
                   expects nothing of its cells\n  help: did you mean \"simultaneous-open\"? if your program";
    let done = of("simultanous-open", &["plan", "mine.toml"]);
    assert!(done.code == 0 && done.stderr.starts_with(warning), "{}", done.stderr);
    assert_eq!(done.stderr.matches("warning").count(), 1, "{}", done.stderr);
    let done = of("simultanous-open", &["check", "mine.toml"]);
    assert!(done.stderr.starts_with(warning), "{}", done.stderr);
    for method in ["simultaneous-open", "my-own-way"] {
        assert_eq!(of(method, &["plan", "mine.toml"]).stderr, "", "{method}");
    }
    let plan = |method| of("my-own-way", &["plan", "mine.toml", "--method", method]);
    for method in ["my-own-way", "listen"] {
        assert_eq!(plan(method).stderr, "", "{method}");
    }
    let neither = "neither theory nor the suite \"mine\" knows the method";
    for (method, help) in [("foo", "if your program"), ("listn", "did you mean \"listen\"? if your program")]
    {
        let done = plan(method);
        let expected = format!("testbed: warning: {neither} \"{method}\" of --method\n  help: {help}");
        assert!(done.code == 0 && done.stderr.starts_with(&expected), "{}", done.stderr);
    }
    std::fs::write(folder.path().join("mine.toml"), own.replace("method = [\"simultaneous-open\"]\n", ""))
        .expect("room on the disk");
    let done = testbed_in(folder.path(), &["plan", "mine.toml", "--method", "foo"]);
    assert!(done.code == 0 && done.stderr.contains(&format!("{neither} \"foo\"")), "{}", done.stderr);
}

#[test]
fn a_suite_with_an_unknown_key() {
    plan_of(&SUITE.replace("summary", "sumary")).refused(2, "testbed: mine.toml:2: unknown key \"sumary\"");
    plan_of(&SUITE.replace("nat-a", "nat-c")).refused(2, "testbed: mine.toml:6: unknown axis \"nat-c\"");
}

#[test]
fn a_suite_with_an_unknown_topology() {
    plan_of(&SUITE.replace("\"pair\"", "\"pear\""))
        .refused(2, "testbed: mine.toml:3: unknown topology \"pear\": did you mean \"pair\"?");
    plan_of(&SUITE.replace("\"pair\"", "\"my/own.toml\""))
        .refused(2, "testbed: mine.toml:3: cannot read the topology \"my/own.toml\": No such file");
}

#[test]
fn a_malformed_suite() {
    plan_of(&SUITE.replace("[axes]", "[axes")).refused(2, "testbed: mine.toml:5: ");
    plan_of("\u{0}\u{1}\u{2}").refused(2, "testbed: mine.toml:1: ");
}

#[test]
fn no_trials() {
    plan_of(&format!("trials = 0\n{SUITE}"))
        .refused(2, "testbed: mine.toml:1: trials must be at least 1, not 0");
    testbed(&["plan", "classic", "--trials", "0"])
        .refused(2, "invalid value '0' for '--trials <N>': must be at least 1");
}

#[test]
fn more_trials_than_anybody_can_mean() {
    plan_of(&format!("trials = 4000000000\n{SUITE}"))
        .refused(2, "testbed: mine.toml:1: trials must be at most 1000000, not 4000000000");
    for option in ["--trials", "--until-sure"] {
        let most = format!("invalid value '4294967295' for '{option} <N>': must be at most 1000000");
        testbed(&["run", "classic", option, "4294967295"]).refused(2, &most);
    }
    testbed(&["run", "classic", "--seed", "x"])
        .refused(2, "invalid value 'x' for '--seed <N>': expected a whole number");
    testbed(&["fuzz-nat", "random", "--for", "0s"]).refused(2, "\"0s\" must be longer than nothing");
    testbed(&["explain", "run", "cell", "abc"])
        .refused(2, "invalid value 'abc' for '[TRIAL]': expected a whole number");
}

#[test]
fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("fifo");
    super::make_pipe(&path);
    std::fs::write(folder.path().join("mine.toml"), SUITE.replace("\"pair\"", "\"./fifo\"")).expect("room");
    let own = "[nat.mine]\nsummary = \"\"\nruleset-file = \"fifo\"\n";
    std::fs::write(folder.path().join("nats.toml"), own).expect("room");
    for arguments in [
        &["run", "./fifo"][..],
        &["run", "classic", "--nats", "fifo", "--nat-a", "x"],
        &["run", "classic", "--baseline", "fifo"],
        &["run", "classic", "--rerun", "fifo"],
        &["plan", "mine.toml"],
        &["nat", "show", "mine", "--nats", "nats.toml"],
        &["baseline", "update", "fifo", "fifo"],
        &["diff", "fifo", "fifo"],
        &["report", "fifo"],
    ] {
        testbed_in(folder.path(), arguments).refused(2, "it is not a regular file");
    }
}

#[test]
fn a_suite_in_this_folder_is_found_by_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("once.toml"), SUITE).expect("room on the disk");
    testbed_in(folder.path(), &["run", "once"])
        .refused(2, "unknown suite \"once\"\n  help: did you mean the file \"once.toml\"? there are ");
}

#[test]
fn a_path_that_programs_cannot_be_shown_is_refused_with_its_line() {
    for key in ["files = [\"/nope\"]", "writable = [\"{suite_dir}/nope\"]", "root = \"/nope\""] {
        let done = plan_of(&format!("{SUITE}[program]\npeer = [\"/bin/true\"]\n{key}\n"));
        done.refused(2, "testbed: mine.toml:11: cannot show \"/");
        assert!(
            done.stderr.contains("nope\" to programs: No such file or directory (ENOENT)"),
            "{}",
            done.stderr
        );
    }
}

#[test]
fn a_plan_refuses_what_a_run_would_not_show_to_programs_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    super::make_pipe(&folder.path().join("fifo"));
    for (key, why) in [
        ("files = [\"{suite_dir}/fifo\"]", "fifo\" to programs: it is neither a file nor a folder"),
        (
            "files = [\"/\"]",
            "cannot show \"/\" to programs: programs have another folder in its place\n  help: ",
        ),
        (
            "files = [\"/proc\"]",
            "cannot show \"/proc\" to programs: programs have another folder in its place",
        ),
        ("writable = [\"/\"]", "cannot show \"/\" to programs: programs have another folder in its place"),
        (
            "writable = [\"/usr\"]",
            "cannot show \"/usr\" to programs: folders of the system are never written to",
        ),
        ("writable = [\"{suite_dir}/fifo\"]", "fifo\" is no folder"),
        ("root = \"/\"", "cannot take \"/\" for a root file system: that is this machine's own"),
        ("root = \"{suite_dir}\"", "for a root file system: it is no folder with usr, bin or lib in it"),
    ] {
        let text = format!("{SUITE}[program]\npeer = [\"/bin/true\"]\n{key}\n");
        std::fs::write(folder.path().join("mine.toml"), text).expect("room on the disk");
        for command in [&["plan", "mine.toml"][..], &["run", "mine.toml", "--out", "out"]] {
            let done = testbed_in(folder.path(), command);
            done.refused(2, "testbed: mine.toml:11: ");
            done.refused(2, why);
        }
    }
    assert!(!folder.path().join("out").exists());
}

#[test]
fn a_plan_refuses_commands_that_could_not_be_run() {
    let folder = tempfile::tempdir().expect("a folder");
    super::make_pipe(&folder.path().join("fifo"));
    for (peer, why) in [
        ("[\"/bin/sh\", \"{suite_dir}/fifo\"]", "fifo\": it is not a regular file"),
        ("[\"/bin/sh\", \"{suite_dir}\"]", "\": it is a folder"),
        (
            "[\"/bin/cat\", \"{suite_dir}/fifo\"]",
            "fifo\", which a command names, to programs: it is neither a file",
        ),
        (
            "[\"/bin/ls\", \"/proc\"]",
            "testbed: cannot show \"/proc\" to programs: programs have another folder",
        ),
    ] {
        let text = format!("{SUITE}[program]\npeer = {peer}\n");
        std::fs::write(folder.path().join("mine.toml"), text).expect("room on the disk");
        let done = testbed_in(folder.path(), &["plan", "mine.toml"]);
        assert!(done.code == 2 && done.stderr.contains(why), "{peer}: {}", done.stderr);
    }
}

#[test]
fn every_problem_of_a_file_at_once() {
    let text = SUITE.replace("port-preserving", "cone").replace("[axes]", "trials = 0\n[axes]");
    let done = plan_of(&text);
    done.refused(2, "testbed: mine.toml:5: trials");
    done.refused(2, "testbed: mine.toml:7: unknown NAT \"cone\"");
    done.refused(2, "testbed: mine.toml:8: unknown NAT \"cone\"");
}

#[test]
fn a_filter_that_leaves_nothing() {
    testbed(&["plan", "classic", "--filter", "nat-a=rando"]).refused(
        4,
        "testbed: nothing to run: no cell of \"classic\" has nat-a=rando\n  help: did you mean \"random\"? the values of nat-a are port-preserving, sequential, random\n",
    );
    testbed(&["plan", "classic", "--filter", "nat-a=random", "--filter", "cell=sequential/*"])
        .refused(4, "testbed: nothing to run: no cell of \"classic\" meets all filters at once");
}

#[test]
fn a_filter_that_is_none() {
    testbed(&["plan", "classic", "--filter", "nat-c=random"])
        .refused(2, "testbed: cannot filter by \"nat-c\": the suite \"classic\" has no such axis");
    testbed(&["plan", "classic", "--filter", "random"])
        .refused(2, "expected AXIS=VALUE or AXIS!=VALUE, as in nat-a=random");
}

#[test]
fn a_run_that_is_not_there() {
    testbed(&["report", "nowhere"]).refused(2, "testbed: cannot read \"nowhere\": No such file");
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    for run in ["testbed-runs/other-1", "empty"] {
        std::fs::create_dir_all(path(run)).expect("room on the disk");
    }
    let help =
        "  help: runs are in testbed-runs/ of the folder they were started in, or where --out put them";
    let all = |latest: &str| {
        for (run, why) in [
            ("nowhere", "testbed: cannot read \"nowhere\": No such file or directory (ENOENT)"),
            ("empty", "testbed: \"empty\" is not the folder of a run: it has no results.json"),
        ] {
            for command in [
                &["report", run][..],
                &["explain", run, "x"],
                &["diff", run, run],
                &["run", "classic", "--rerun", run],
                &["baseline", "update", run, "new.toml"],
                &["merge", run, "--out", "new"],
                &["kernels", run],
            ] {
                testbed_in(folder.path(), command).refused(2, &format!("{why}\n{help}{latest}\n"));
            }
        }
    };
    all("");
    for (run, minutes) in [("other-1", 2), ("other-2", 1), ("other-3", 3)] {
        std::fs::create_dir_all(path("testbed-runs").join(run)).expect("room on the disk");
        let results = std::fs::File::create(path("testbed-runs").join(run).join("results.json"));
        let written = std::time::SystemTime::now() - std::time::Duration::from_secs(60 * minutes);
        results.and_then(|file| file.set_modified(written)).expect("room on the disk");
    }
    all("; the latest here is testbed-runs/other-2");
}

#[test]
fn what_is_no_ruleset_is_not_measured() {
    let folder = tempfile::tempdir().expect("a folder");
    let nats = "[nat.corp]\nsummary = \"\"\n";
    for (file, text) in [("mine.toml", SUITE), ("nats.toml", nats)] {
        std::fs::write(folder.path().join(file), text).expect("room on the disk");
    }
    for (file, said) in [
        (
            "none.nft",
            "testbed: cannot read the rules \"none.nft\": No such file or directory (ENOENT)\n  help: give a file with \
             rules for nft -f, or with the output of iptables-save\n",
        ),
        ("random", "\n  help: this measures the NAT of that name: testbed nat measure --nat random\n"),
        (
            "mine.toml",
            "testbed: cannot measure \"mine.toml\": it is a TOML file, not one of rules\n  help: give a file with rules for \
             nft -f, or with the output of iptables-save\n",
        ),
        (
            "nats.toml",
            "testbed: cannot measure \"nats.toml\": it is a file of NATs, not of rules\n  help: this measures one of them: \
             testbed nat measure --nat corp --nats nats.toml\n",
        ),
    ] {
        testbed_in(folder.path(), &["nat", "measure", file]).refused(2, said);
    }
}
