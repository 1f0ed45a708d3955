//! NATs of the user's own: ruleset files and programs, as the documentation shows them, and every way to be wrong.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;

use super::{testbed, testbed_in};
use crate::lab::lab_is_possible;

/// The page that shows how to write one.
const PAGE: &str = include_str!("../../../docs/nat-behaviour.md");

/// A suite in which both of the page's NATs meet others.
const SUITE: &str = "name = \"own\"\nsummary = \"NATs of your own\"\ntopology = \"pair\"\ntrials = 3\n\n[axes]\n\
                     nat-a = [\"my-router\", \"my-script\", \"sequential\"]\nnat-b = [\"my-script\"]\n\
                     method = [\"bind-and-connect\"]\n\n[program]\njudge = \"exit\"\npeer = [\"/usr/bin/python3\", \
                     \"{suite_dir}/plain_puncher.py\", \"{local_ip}\", \"{local_port}\", \"{peer_ip}\", \"{peer_port}\", \
                     \"{start_in_ms}\"]\n";

/// The block of code on the page that is this file.
fn shown(file: &str) -> &'static str {
    let (_, after) = PAGE.split_once(&format!(" file={file}\n")).expect("the file is on the page");
    after.split_once("```").expect("the end of the block").0
}

fn write(folder: &Path, file: &str, text: &str) {
    let path = folder.join(file);
    std::fs::write(&path, text).expect("room on the disk");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("our own file");
}

/// The exit code where every cell is fine and theory does not know the method.
const UNKNOWN_METHOD: i32 = 3;

/// A folder with the files that the page shows, and a suite that uses them.
fn as_shown() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for file in ["mine.toml", "my-router.nft", "my-nat.sh"] {
        write(folder.path(), file, shown(file));
    }
    write(folder.path(), "plain_puncher.py", include_str!("../programs/plain_puncher.py"));
    write(folder.path(), "own.toml", SUITE);
    folder
}

/// A folder with what the page shows and one more catalogue, `more.toml`.
fn with_more(profiles: &str) -> TempDir {
    let folder = as_shown();
    write(folder.path(), "more.toml", profiles);
    folder
}

#[test]
fn what_the_page_shows_is_shown_and_listed() {
    let folder = as_shown();
    let script = testbed_in(folder.path(), &["nat", "show", "my-script", "--nats", "mine.toml"]);
    assert_eq!(script.code, 0, "{}", script.stderr);
    let expected = format!(
        "\ncd {}\nexport NAT_WAN_DEVICE=wan\nexport NAT_WAN_ADDRESS=192.0.2.2\n\
         export NAT_WAN_ADDRESSES=192.0.2.2\nexport NAT_LAN_DEVICES=lan0\n\
         export NAT_LAN0_NETWORK=10.0.0.0/24\n./my-nat.sh drop\n",
        folder.path().canonicalize().expect("a folder").display()
    );
    assert!(script.stdout.ends_with(&expected), "expected {expected}\nobserved {}", script.stdout);
    let router = testbed_in(folder.path(), &["nat", "show", "my-router", "--nats", "mine.toml"]);
    let expected = format!(
        "\ndefine wan_address = 192.0.2.2\ndefine wan_addresses = 192.0.2.2\ndefine lan0_network = 10.0.0.0/24\n{}",
        shown("my-router.nft")
    );
    assert!(router.stdout.ends_with(&expected), "expected {expected}\nobserved {}", router.stdout);
    let list = testbed_in(folder.path(), &["nat", "list", "--nats", "mine.toml"]);
    assert!(list.stdout.contains("\nmy-router "), "{}", list.stdout);
    assert!(list.stdout.contains("\nport-preserving "), "{}", list.stdout);
}

#[test]
fn a_program_is_found_from_wherever_its_catalogue_is_named() {
    let folder = as_shown();
    let elsewhere = tempfile::tempdir().expect("a folder");
    let name = folder.path().file_name().and_then(|name| name.to_str()).expect("a name");
    let file = format!("../{name}/mine.toml");
    let said = |command: &[&str]| {
        let done = testbed_in(elsewhere.path(), &[command, &["my-script", "--nats", &file]].concat());
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
        done.stdout
    };
    let real = folder.path().canonicalize().expect("a folder");
    let shown = said(&["nat", "show"]);
    assert!(shown.contains(&format!("\ncd {}\n", real.display())), "{shown}");
    if lab_is_possible() {
        said(&["nat", "prove", "--quick"]);
    }
}

#[test]
fn a_nat_past_connection_tracking_says_so() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../topologies/user-space/nats.toml");
    let shown = |name: &str| testbed(&["nat", "show", name, "--nats", file]).stdout;
    assert!(shown("packet-nat").contains("\n# datapath: packets, "), "{}", shown("packet-nat"));
    assert!(shown("passt").contains("\n# datapath: sockets, "), "{}", shown("passt"));
    assert!(!shown("port-preserving").contains("datapath"));
}

#[test]
fn rules_that_are_not_all_of_a_nat_say_so() {
    let shown = |name: &str| testbed(&["nat", "show", name]).stdout;
    let (limited, plain, flushed) = (shown("absolute-timeout"), shown("port-preserving"), shown("flushed"));
    assert!(limited.contains(
        "\n# No rule can end connections at an age: testbed deletes the entry of each, 60 s after"
    ));
    let comments =
        |text: &str| text.lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>().join("\n");
    assert!(
        flushed.contains("\n# No rule can forget everything at regular intervals: testbed does, every 10 s,")
    );
    assert_eq!(comments(&limited), comments(&plain), "the rules are the same");
    assert_eq!(comments(&flushed), comments(&plain), "the rules are the same");
    assert!(!plain.contains("No rule can"));
}

#[test]
fn a_proof_that_finds_a_difference_says_what_to_write_and_whence_the_value_is() {
    if !lab_is_possible() {
        return;
    }
    let rules = "table ip nat {\n  chain out {\n    type nat hook postrouting priority srcnat;\n    oifname \"wan\" masquerade\n  }\n}\n\
                 table ip filter {\n  chain input {\n    type filter hook input priority filter;\n    \
                 iifname \"wan\" tcp flags & (syn|ack) == syn ct state new drop\n  }\n}\n";
    let profile = |more: &str| format!("[nat.corp]\nsummary = \"\"\nruleset-file = \"corp.nft\"\n{more}");
    let folder = with_more(&profile("hairpinning = \"off\"\n"));
    write(folder.path(), "corp.nft", rules);
    let prove = || testbed_in(folder.path(), &["nat", "prove", "--quick", "--nats", "more.toml"]);
    let done = prove();
    let expected = "  expected invalid-packets: drop\n  observed invalid-packets: leak\n";
    let advice = "\n  invalid-packets: not written in \"corp\", so inherited from \"port-preserving\"\n  help: if this NAT is meant to \
                  do so, write invalid-packets = \"leak\"\n  help: this prints what to write for what the NAT does: testbed nat \
                  measure --nat corp --nats more.toml\n";
    assert!(done.code == 1 && done.stdout.contains(expected), "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.ends_with(advice), "{}", done.stdout);
    write(folder.path(), "more.toml", &profile("invalid-packets = \"leak\"\n"));
    let done = prove();
    assert_eq!((done.code, done.stdout.contains("help: ")), (0, false), "{}", done.stdout);
    write(folder.path(), "more.toml", &profile("invalid-packets = \"leak\"\nsyn-after-syn = \"drop\"\n"));
    let done = prove();
    assert!(done.stdout.contains("is meant to do so, write syn-after-syn = \"accept\"\n"), "{}", done.stdout);
    assert!(done.code == 1 && !done.stdout.contains("inherited"), "{}", done.stdout);
}

#[test]
fn nft_counts_the_lines_of_a_ruleset_as_its_user_does() {
    if !lab_is_possible() {
        return;
    }
    let folder = with_more("[nat.bad]\nsummary = \"a slip of the pen\"\nruleset-file = \"bad.nft\"\n");
    let rules = "# One comment.\n\ntable ip nat {\n  chain post {\n    type nat hook postrouting priority srcnat;\n    \
                 oif \"wan\" snatt to $wan_address\n  }\n}\n";
    write(folder.path(), "bad.nft", rules);
    let done = testbed_in(folder.path(), &["nat", "prove", "bad", "--nats", "more.toml"]);
    assert_eq!(done.code, 2, "{}{}", done.stdout, done.stderr);
    for said in ["nft refused its ruleset at line 6: ", "\n  6 |     oif \"wan\" snatt to $wan_address\n"] {
        assert!(done.stdout.contains(said), "{said}: {}", done.stdout);
    }
    assert!(!done.stdout.contains("\\n"), "{}", done.stdout);
    let run = ["run", "classic", "--nats", "more.toml", "--nat-a", "bad", "--out", "bad"];
    let done = testbed_in(folder.path(), &run);
    let said = "NAT \"bad\" could not be proved; not run: 3 cells: bad.nft: nft refused";
    assert!(done.code == 2 && done.stdout.contains(said), "{}{}", done.stdout, done.stderr);
}

#[test]
fn what_the_page_shows_is_proved() {
    if !lab_is_possible() {
        return;
    }
    let folder = as_shown();
    let done = testbed_in(folder.path(), &["nat", "prove", "--nats", "mine.toml"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    for nat in ["my-router: behaves as declared", "my-script: behaves as declared"] {
        assert!(done.stdout.contains(nat), "{}", done.stdout);
    }
    assert_eq!(done.stdout.matches("behaves as declared").count(), 2, "{}", done.stdout);
}

#[test]
fn what_the_page_shows_is_punched_through_and_kept() {
    if !lab_is_possible() {
        return;
    }
    let folder = as_shown();
    let arguments = ["run", "own.toml", "--nats", "mine.toml", "--out", "out", "--keep", "all"];
    let done = testbed_in(folder.path(), &arguments);
    let text = std::fs::read_to_string(folder.path().join("out/results.json"));
    let text = text.unwrap_or_else(|why| panic!("no results: {why}\n{}", done.stderr));
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let cells = results["cells"].as_array().expect("cells");
    let punched = cells.iter().filter(|cell| cell["kind"] == "punch");
    for cell in punched.clone().filter(|cell| cell["axes"]["nat-a"] != "sequential") {
        assert_eq!(cell["passed"], 3, "{cell}");
    }
    assert_eq!(punched.count(), 3, "{text}");
    assert_eq!(done.code, UNKNOWN_METHOD, "{}{}", done.stdout, done.stderr);
    let kept = folder.path().join("out/cells");
    let rules = rules_below(&kept);
    let made = "# made by the program: ./my-nat.sh drop\n";
    assert!(rules.iter().any(|text| text.contains(made) && text.contains("snat to 192.0.2.2")), "{rules:?}");
}

/// All rulesets that a run has kept.
fn rules_below(folder: &Path) -> Vec<String> {
    let mut rules = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rules.extend(rules_below(&path));
        } else if path.extension().is_some_and(|ending| ending == "nft") {
            rules.push(std::fs::read_to_string(path).expect("text"));
        }
    }
    rules
}

#[test]
fn a_program_that_stays_is_proved_and_punched_through() {
    if !lab_is_possible() {
        return;
    }
    let stays = "[nat.my-script]\nsummary = \"stays\"\n\
                 command = [\"sh\", \"-c\", \"./my-nat.sh drop && echo ready && exec sleep 1000\"]\n";
    let folder = with_more(stays);
    let arguments = ["run", "own.toml", "--nats", "mine.toml", "--nats", "more.toml", "--out", "out"];
    let done = testbed_in(folder.path(), &arguments);
    assert_eq!(done.code, UNKNOWN_METHOD, "{}{}", done.stdout, done.stderr);
    // All but those through the counting NAT, which a program that predicts nothing cannot pass.
    assert_eq!(done.stdout.matches("3/3* ").count(), 2, "{}", done.stdout);
}

#[test]
fn a_program_whose_nat_does_something_else_is_caught() {
    if !lab_is_possible() {
        return;
    }
    let lies = "[nat.my-script]\nsummary = \"declares what it does not do\"\ncommand = [\"./my-nat.sh\", \"drop\"]\n\
                filtering = \"endpoint-independent\"\noverloading = \"off\"\n";
    let folder = with_more(lies);
    let done = testbed_in(folder.path(), &["nat", "prove", "my-script", "--quick", "--nats", "more.toml"]);
    assert_eq!(done.code, 1, "{}{}", done.stdout, done.stderr);
    let observed = "observed filtering: address-and-port-dependent";
    assert!(done.stdout.contains(observed), "{}", done.stdout);
    let arguments = ["run", "own.toml", "--nats", "mine.toml", "--nats", "more.toml", "--out", "out"];
    let done = testbed_in(folder.path(), &arguments);
    assert_eq!(done.code, 2, "{}{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("\"my-script\" does not behave as declared"), "{}", done.stdout);
}

#[test]
fn a_nat_that_loses_one_syn_in_ten_is_caught() {
    if !lab_is_possible() {
        return;
    }
    let profile = "[nat.lossy]\nsummary = \"\"\nruleset-file = \"lossy.nft\"\nunsolicited-syn = \"kernel\"\n\
                   invalid-packets = \"leak\"\nhairpinning = \"off\"\n";
    let folder = with_more(profile);
    let rules = |lose: &str| {
        format!(
            "table ip nat {{\n  chain out {{\n    type nat hook postrouting priority srcnat;\n    oifname \"wan\" masquerade\n  }}\n}}\n\
             table ip filter {{\n  chain forward {{\n    type filter hook forward priority filter;\n    {lose}\n  }}\n}}\n"
        )
    };
    let prove = |lose: &str| {
        write(folder.path(), "lossy.nft", &rules(lose));
        testbed_in(folder.path(), &["nat", "prove", "lossy", "--quick", "--nats", "more.toml"])
    };
    let none = prove("");
    assert_eq!(none.code, 0, "{}{}", none.stdout, none.stderr);
    let some = prove("oifname \"wan\" ct state new numgen inc mod 10 == 0 drop");
    assert_eq!(some.code, 1, "{}{}", some.stdout, some.stderr);
    assert!(some.stdout.contains("SYNs vanished, and got out when they were sent again"), "{}", some.stdout);
}

/// Once with a quota, which refuses SYNs that get out later, and with sets that are filled.
#[test]
fn rules_that_testbed_prints_hold_when_they_are_given_back() {
    if !lab_is_possible() {
        return;
    }
    let cone = "[nat.cone]\nsummary = \"\"\nruleset-file = \"cone.nft\"\nmapping = \"endpoint-independent\"\n\
                filtering = \"endpoint-independent\"\noverloading = \"off\"\n";
    let limited =
        "summary = \"\"\nmapping = \"address-and-port-dependent\"\nallocation = \"random\"\nquota = 1\n";
    let own = format!("[nat.one]\nruleset-file = \"one.nft\"\n{limited}");
    let folder = with_more(&format!("{cone}{own}[nat.limited]\n{limited}"));
    for (shown, file) in [("full-cone", "cone.nft"), ("limited", "one.nft")] {
        let done = testbed_in(folder.path(), &["nat", "show", shown, "--nats", "more.toml"]);
        assert_eq!(done.code, 0, "{}", done.stderr);
        write(folder.path(), file, &done.stdout);
    }
    let done = testbed_in(folder.path(), &["nat", "prove", "--nats", "more.toml"]);
    assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
    for (why, count) in [
        ("your own rules fill sets or maps, whose timers cannot be shortened", 2),
        ("a quota below 32 has no room for a connection in each state", 1),
    ] {
        let said = format!("not looked at: {why}\n");
        assert_eq!(done.stdout.matches(&said).count(), count, "{why}: {}", done.stdout);
    }
}

#[test]
fn a_program_that_makes_no_nat_is_an_error_that_says_why() {
    if !lab_is_possible() {
        return;
    }
    let wrong = "[nat.fails]\nsummary = \"\"\ncommand = [\"sh\", \"-c\", \"echo so sorry >&2; exit 3\"]\n\
                 [nat.refused]\nsummary = \"\"\ncommand = [\"sh\", \"-c\", \"echo table ip nat { | nft -f -\"]\n\
                 [nat.cascades]\nsummary = \"\"\ncommand = [\"sh\", \"-c\", \
                 \"for n in one two three four; do echo $n | nft -f -; done; exit 1\"]\n\
                 [nat.missing]\nsummary = \"\"\ncommand = [\"./nowhere.sh\"]\n\
                 [nat.hangs]\nsummary = \"\"\ncommand = [\"sh\", \"-c\", \"echo wait >&2; exec sleep 1000\"]\n\
                 [nat.leaves]\nsummary = \"\"\ncommand = [\"sh\", \"-c\", \"./my-nat.sh drop; echo ready; echo bye >&2\"]\n";
    let folder = with_more(wrong);
    let done = testbed_in(folder.path(), &["nat", "prove", "--quick", "--nats", "more.toml"]);
    assert_eq!(done.code, 2, "{}{}", done.stdout, done.stderr);
    let line = |nat: &str| {
        let lines = done.stdout.split("could not be measured: ");
        lines.into_iter().find(|text| text.contains(&format!("the NAT \"{nat}\""))).unwrap_or_default()
    };
    for (nat, because) in [
        ("fails", "by its command \"sh -c echo so sorry >&2; exit 3\": it ended with exit status: 3"),
        ("fails", "on standard error: so sorry"),
        ("refused", "syntax error"),
        ("cascades", "\none\n   ^\n…\n"),
        ("cascades", "\nfour\n    ^"),
        ("missing", "by its command \"./nowhere.sh\": "),
        ("missing", "there is no such file"),
        ("hangs", "it has neither ended nor printed a line \"ready\" after 5s; on standard error: wait"),
        ("leaves", "the program ended with exit status: 0; on standard error: bye"),
    ] {
        assert!(line(nat).contains(because), "{nat}: expected {because}\nobserved {}", done.stdout);
    }
}

/// As routers they are what they declare, while they live: only their deaths are wrong.
#[test]
fn a_program_that_ends_by_itself_is_an_error_however_short_each_measurement_is() {
    if !lab_is_possible() {
        return;
    }
    let dies = |name: &str, after: &str| {
        format!(
            "[nat.{name}]\nsummary = \"\"\ntranslation = \"router\"\n\
             command = [\"sh\", \"-c\", \"echo ready; sleep {after}; exit 1\"]\n"
        )
    };
    let folder = with_more(&(dies("soon", "0.3") + &dies("later", "3")));
    let because = "up: the program ended with exit status: 1";
    for arguments in [
        &["nat", "prove", "--nats", "more.toml"][..],
        &["nat", "prove", "soon", "--quick", "--nats", "more.toml"],
        &["conformance", "soon", "--nats", "more.toml"],
    ] {
        let done = testbed_in(folder.path(), arguments);
        let errors = done.stdout.matches(because).count();
        let nats = if arguments.contains(&"soon") { 1 } else { 2 };
        assert_eq!((done.code, errors), (2, nats), "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert!(!done.stderr.contains("panicked"), "{arguments:?}: {}", done.stderr);
    }
    // One that is gone does not keep the others from being compared, nor is it taken for one that disagrees.
    let fuzz = ["fuzz-nat", "soon", "none", "later", "--nats", "more.toml", "--for", "3s", "--seed", "7"];
    let done = testbed_in(folder.path(), &fuzz);
    let told = format!("{}{}", done.stdout, done.stderr);
    assert_eq!((done.code, done.stderr.matches(because).count()), (2, 2), "{told}");
    assert!(
        done.stdout.lines().any(|line| line.starts_with("none: ") && line.ends_with(", seed 7")),
        "{told}"
    );
    assert!(done.stderr.contains("cannot compare \"soon\" with the reference: "), "{told}");
    assert!(!told.contains("panicked") && !told.contains("do not agree"), "{told}");
    let measure = ["nat", "measure", "--", "sh", "-c", "echo ready; sleep 2; exit 1"];
    let done = testbed_in(folder.path(), &measure);
    assert!(done.code == 2 && done.stderr.contains(because), "{}{}", done.stdout, done.stderr);
}

#[test]
fn what_cannot_be_measured_is_said_on_standard_error_with_the_devices_that_are_not_there() {
    if !lab_is_possible() {
        return;
    }
    let folder = with_more("");
    std::fs::write(
        folder.path().join("there.nft"),
        "table ip nat { chain c { oifname \"eth0\" masquerad } }\n",
    )
    .expect("it is ours");
    let done = testbed_in(folder.path(), &["nat", "measure", "there.nft"]);
    assert_eq!((done.code, done.stdout.as_str()), (2, ""), "{}", done.stderr);
    for part in [
        "testbed: cannot measure \"there\": there.nft: nft refused its ruleset at line 1: ",
        "  1 | table ip nat { chain c {",
        "testbed: there.nft: the rules name \"eth0\", which this NAT does not have",
        "help: a NAT's devices are wan, lan0 and lan1; say which is meant, as with --device eth0=wan",
        "testbed: cannot measure \"there\": ",
    ] {
        assert!(done.stderr.contains(part), "{part}\n{}", done.stderr);
    }
    let done = testbed_in(folder.path(), &["nat", "measure", "there.nft", "--device", "eth0=wan"]);
    assert!(!done.stderr.contains("does not have"), "{}", done.stderr);
}

#[test]
fn a_plan_refuses_a_nat_whose_program_cannot_be_started() {
    let folder = tempfile::tempdir().expect("a folder");
    super::make_pipe(&folder.path().join("pipe"));
    for (command, why) in [
        ("\"./nowhere.sh\"", "by its command \"./nowhere.sh\": there is no such file"),
        ("\"no-such-program-here\"", "\": no folder of PATH has it"),
        ("\"sh\", \"pipe\"", "cannot execute the script \"pipe\": it is not a regular file"),
        ("\"sh\", \"-c\", \"exit\", \"/tmp\"", "cannot show \"/tmp\" to programs"),
    ] {
        let nats = format!("[nat.x]\nsummary = \"\"\ncommand = [{command}]\n");
        std::fs::write(folder.path().join("nats.toml"), nats).expect("room on the disk");
        let done = testbed_in(folder.path(), &["plan", "classic", "--nats", "nats.toml", "--nat-a", "x"]);
        assert!(done.code == 2 && done.stderr.contains(why), "{command}: {}", done.stderr);
    }
}

#[test]
fn what_is_wrong_in_a_file_is_said_with_its_line() {
    testbed(&["nat", "prove", "--nats", "nowhere.toml"])
        .refused(2, "testbed: cannot read the NATs of \"nowhere.toml\": No such file");
    testbed(&["nat", "prove"]).refused(2, "required");
    let folder = with_more("[nat.x]\nsummary = \"\"\ncommand = []\n");
    let arguments = ["run", "own.toml", "--nats", "more.toml"];
    testbed_in(folder.path(), &arguments).refused(2, "more.toml:3: a command has at least a program");
    let folder = with_more("[nat.x]\nsummary = \"\"\nruleset-file = \"nowhere.nft\"\n");
    let arguments = ["nat", "show", "x", "--nats", "more.toml"];
    testbed_in(folder.path(), &arguments)
        .refused(2, "cannot make the NAT \"x\": read nowhere.nft: No such file");
    let arguments = ["plan", "own.toml", "--nats", "more.toml"];
    testbed_in(folder.path(), &arguments).refused(2, "unknown NAT \"my-router\"");
}
