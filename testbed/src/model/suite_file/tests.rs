//! Good suites become what they say; each bad one is refused with its line.

use std::time::Duration;

use super::*;
use crate::model::addresses::AddressSet;
use crate::model::catalogue::Catalogue;
use crate::model::embedded;
use crate::model::program::{AfterInput, Readiness, Service, StandardInput};
use crate::model::suite::{Redial, ResultFormat};
use crate::model::theory::METHODS;

const GOOD: &str = r#"name = "t"
summary = "s"
topology = "pair"
trials = 5
deadline = "2s"
budget-syns = 64

[axes]
nat-b = ["sequential", "random"]
nat-a = ["port-preserving"]
method = ["simultaneous-open"]
skew = ["0ms", "-50ms"]
loss = [0, 0.25]
"#;

fn parse_here(text: &str) -> Result<Suite, Problems> {
    parse_with(text, &["port-preserving", "sequential", "random"], &["simultaneous-open", "auto"])
}

fn parse_with(text: &str, nats: &[&str], methods: &[&str]) -> Result<Suite, Problems> {
    let topology = |name: &str| match embedded::find(embedded::TOPOLOGIES, name) {
        Some(found) => Ok((found.file.to_owned(), found.text.to_owned())),
        None => Err(format!("unknown topology \"{name}\"")),
    };
    let missing = |path: &str| PathProblem { message: format!("there is no {path}"), help: None };
    let path = |path: &str, _| if path == "/nope" { Err(missing(path)) } else { Ok(()) };
    parse("t.toml", text, &KnownNames { nats, methods, topology: &topology, path: &path })
}

#[test]
fn the_axes_keep_the_order_of_the_file() {
    let suite = parse_here(GOOD).expect("a good suite");
    let part = &suite.parts[0];
    let axes: Vec<_> = part.axes.iter().map(|a| (a.key.to_string(), a.values.join(" "))).collect();
    let expected = [
        ("nat-b", "sequential random"),
        ("nat-a", "port-preserving"),
        ("method", "simultaneous-open"),
        ("skew", "0ms -50ms"),
        ("loss", "0 0.25"),
    ];
    assert_eq!(axes, expected.map(|(key, values)| (key.to_owned(), values.to_owned())));
    assert_eq!((part.trials, part.budget.syns, part.budget.deadline), (5, 64, Duration::from_secs(2)));
    assert_eq!(part.program, own_puncher());
    let last = suite.cells().pop().expect("cells");
    assert_eq!(last.skew().map(quantity::Offset::as_secs_f64), Some(-0.05));
    assert_eq!((last.loss(), last.delay(), last.order()), (Some(0.25), None, None));
}

#[test]
fn a_cell_may_have_a_budget_of_its_own() {
    let suite = parse_here(&GOOD.replace("loss = [0, 0.25]", "budget-syns = [8, 16]")).expect("a good suite");
    let budgets: Vec<_> = suite.cells().iter().map(|cell| suite.part(cell).budget_of(cell)).collect();
    assert_eq!(budgets[..2].iter().map(|b| b.syns).collect::<Vec<_>>(), [8, 16]);
    assert!(budgets.iter().all(|budget| budget.deadline == Duration::from_secs(2)));
    let suite = parse_here(GOOD).expect("a good suite");
    assert!(suite.cells().iter().all(|cell| suite.part(cell).budget_of(cell).syns == 64));
}

#[test]
fn low_ports_may_be_forbidden() {
    let low_ports = |text: &str| parse_here(text).expect("a good suite").parts[0].budget.low_ports;
    assert_eq!(low_ports(GOOD), LowPorts::Allowed);
    assert_eq!(low_ports(&GOOD.replace("budget-syns = 64", "low-ports = false")), LowPorts::Forbidden);
}

#[test]
fn the_embedded_suites_are_good() {
    let catalogue = Catalogue::embedded();
    let nats: Vec<&str> = catalogue.profiles().map(|profile| profile.name.as_str()).collect();
    for suite in embedded::SUITES {
        let parsed =
            parse_with(suite.text, &nats, METHODS).unwrap_or_else(|why| panic!("{}: {why}", suite.file));
        assert_eq!(parsed.name, suite.name);
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let problems = parse_here(text).expect_err(expected).to_string();
    assert!(problems.contains(expected), "expected {expected}\nobserved {problems}");
}

#[test]
fn each_problem_is_named_with_its_line() {
    for (from, to, expected) in [
        (
            "[\"port-preserving\"]",
            "[\"port-preservin\"]",
            "t.toml:10: unknown NAT \"port-preservin\"\n  help: did you mean \"port-preserving\"? list them with: testbed nat list",
        ),
        (
            "\"simultaneous-open\"",
            "\"simultanous-open\"",
            "t.toml:11: unknown method \"simultanous-open\"\n  help: did you mean \"simultaneous-open\"?",
        ),
        (
            "skew",
            "skwe",
            "t.toml:12: unknown axis \"skwe\"\n  help: did you mean \"skew\"? the axes here are nat-a, nat-b, method, skew, delay, loss, order",
        ),
        ("\"-50ms\"", "\"-50\"", "t.toml:12: \"50\" is not a duration"),
        ("0.25", "2", "t.toml:13: \"2\" is not a probability"),
        ("0.25", "true", "t.toml:13: a value of the axis \"loss\" is text or a number, not boolean"),
        ("trials = 5", "trials = 0", "t.toml:4: trials must be at least 1, not 0"),
        ("trials = 5", "trials = 5000000000", "t.toml:4: trials must be at most 1000000, not 5000000000"),
        ("name = \"t\"", "name = \"../t\"", "t.toml:1: bad name \"../t\" of a suite"),
        ("2s", "1000years", "t.toml:5: \"1000years\" is too long: at most 1h"),
        ("\"-50ms\"", "\"-2h\"", "t.toml:12: \"2h\" is too long: at most 1h"),
        ("loss = [0, 0.25]", "delay = [\"1000h\"]", "t.toml:13: \"1000h\" is too long: at most 1m"),
        ("loss = [0, 0.25]", "jitter = [\"1000h\"]", "t.toml:13: \"1000h\" is too long: at most 1m"),
        (
            "\"simultaneous-open\"",
            "\"a\\u0000b\"",
            "t.toml:11: the value \"a\\0b\" of the axis \"method\" has a control character",
        ),
        (
            "[axes]\nnat-b = [\"sequential\", \"random\"]",
            "[groups]\ng = []\n[axes]\nnat-b = [\"@g\"]",
            "t.toml:9: the group \"g\" is empty",
        ),
        (
            "[axes]",
            "[groups]\nall = [\"random\"]\n[axes]",
            "t.toml:9: the group \"all\" is every NAT of the catalogue\n  help: give your group another name",
        ),
        ("name = \"t\"", "name = \"\"", "t.toml:1: bad name \"\" of a suite"),
        ("trials = 5", "trials = \"5\"", "t.toml:4: expected a whole number, found the string \"5\""),
        ("2s", "0s", "t.toml:5: \"0s\" must be longer than nothing"),
        ("loss = [0, 0.25]", "budget-syns = [0]", "t.toml:13: \"0\" is not a number of SYNs, at least 1"),
        ("budget-syns = 64", "budget-syns = -1", "t.toml:6: budget-syns must be at least 1, not -1"),
        ("deadline", "dedline", "t.toml:5: unknown key \"dedline\""),
        ("\"pair\"", "\"pear\"", "t.toml:3: unknown topology \"pear\""),
        ("nat-a = [\"port-preserving\"]\n", "", "t.toml:8: no axis \"nat-a\""),
        ("\"sequential\", \"random\"", "", "t.toml:9: the axis \"nat-b\" has no value"),
        (
            "\"sequential\", \"random\"",
            "\"random\", \"random\"",
            "t.toml:9: the axis \"nat-b\" has the value \"random\" twice",
        ),
        ("[axes]", "[axes", "t.toml:8: "),
        ("name = \"t\"\n", "", "the key \"name\" is missing"),
    ] {
        refused(&GOOD.replacen(from, to, 1), expected);
    }
}

#[test]
fn a_name_that_no_folder_can_have_and_cells_that_no_memory_can_hold_are_refused() {
    let long = format!("name = \"{}\"", "n".repeat(101));
    refused(
        &GOOD.replacen("name = \"t\"", &long, 1),
        "t.toml:1: the name of a suite has at most 100 bytes, not 101",
    );
    let many: Vec<String> = (0..500).map(|number| (f64::from(number) / 1e3).to_string()).collect();
    let many = many.join(", ");
    let axes = format!("loss = [{many}]\nduplication = [{many}]");
    refused(
        &GOOD.replacen("loss = [0, 0.25]", &axes, 1),
        "t.toml:8: these axes make 1000000 cells, and at most 100000 can be run",
    );
}

#[test]
fn what_is_expected_is_expected_of_cells_that_there_are() {
    let expect = |cells: &str, probability: &str| {
        format!("{GOOD}\n[[expect]]\nwhere = {{ {cells} }}\nprobability = {probability}\nbecause = \"b\"\n")
    };
    for (cells, probability) in [
        ("nat-b = \"random\"", "1"),
        ("nat-b = [\"random\", \"sequential\"], loss = 0.25", "[0.1, 0.2]"),
        ("skew = \"-50ms\"", "0.5"),
        ("", "0.5"),
    ] {
        let suite = parse_here(&expect(cells, probability)).unwrap_or_else(|why| panic!("{cells}: {why}"));
        assert!(suite.cells().iter().any(|cell| suite.part(cell).recorded[0].fits(cell)), "{cells}");
    }
    let form = "t.toml:17: probability must be a number, or the lowest and the highest: [0.2, 0.4], not";
    for (cells, probability, expected) in [
        (
            "nat-b = \"rando\"",
            "1",
            "t.toml:16: no cell has nat-b = \"rando\"\n  help: did you mean \"random\"? there are sequential, random",
        ),
        ("nat-b = [\"random\", \"nope\"]", "1", "t.toml:16: no cell has nat-b = \"nope\"\n  help: "),
        ("delay = \"5ms\"", "1", "t.toml:16: no cell that this is about has an axis \"delay\""),
        ("nat-c = \"random\"", "1", "t.toml:16: unknown axis \"nat-c\""),
        ("nat-b = true", "1", "t.toml:16: nat-b must be a value of that axis, or a list of some, not true"),
        ("nat-b = \"random\"", "[0.1]", form),
        ("nat-b = \"random\"", "\"often\"", form),
        ("nat-b = \"random\"", "[0.4, 0.2]", "t.toml:17: 0.4 is above 0.2"),
        ("nat-b = \"random\"", "1.5", "t.toml:17: a probability is a number from 0 to 1, not 1.5"),
    ] {
        refused(&expect(cells, probability), expected);
    }
    let pair = "unordered = [\"nat-a\", \"nat-b\"]";
    let nats = "nat-a = [\"sequential\", \"random\"]\nnat-b = [\"sequential\", \"random\"]";
    let text = expect("nat-a = \"random\", nat-b = \"sequential\"", "1");
    let text = text.replace("trials = 5", pair).replace("nat-a = [\"port-preserving\"]\n", "");
    let text = text.replace("nat-b = [\"sequential\", \"random\"]", nats);
    refused(&text, "no cell has all of these values");
}

#[test]
fn all_problems_are_reported_at_once() {
    let text =
        GOOD.replace("port-preserving", "cone").replace("trials = 5", "trials = 0").replace("2s", "soon");
    let problems = parse_here(&text).expect_err("three problems").0;
    assert_eq!(problems.iter().map(|p| p.line).collect::<Vec<_>>(), [4, 5, 10]);
}

#[test]
fn a_foreign_program_has_its_own_methods_and_a_checked_command() {
    let program = |peer: &str, judge: &str| {
        let text = GOOD.replace("simultaneous-open", "my-own-way");
        parse_here(&format!("{text}\n[program]\npeer = {peer}\njudge = {judge}\n"))
    };
    let suite = program(r#"["./p", "{peer_ip}"]"#, r#""exit""#).expect("a good program");
    let exit = &suite.parts[0].program;
    assert_eq!((&exit.rendezvous, &exit.claim), (&None, &ResultFormat::Exit));
    let suite = program(r#"["./p"]"#, r#"{ stdout = "connected" }"#).expect("a good program");
    assert_eq!(suite.parts[0].program.claim, ResultFormat::Stdout("connected".to_owned()));
    assert_eq!(suite.parts[0].program.redial, None);
    let suite = program(r#"["./p"]"#, "\"exit\"\nredial = \"none\"").expect("a good program");
    assert_eq!(suite.parts[0].program.redial, Some(Redial::None));
    for (peer, judge, expected) in [
        ("[]", "\"json\"", "t.toml:16: the command \"peer\" is empty"),
        (
            "[\"{pear_ip}\"]",
            "\"json\"",
            "t.toml:16: unknown placeholder {pear_ip}: did you mean \"peer_ip\"?",
        ),
        ("[\"p\"]", "\"maybe\"", "t.toml:17: judge must be \"json\", \"exit\" or"),
        ("[\"p\"]", "{ stdout = 1 }", "t.toml:17: judge must be"),
        (
            "[\"p\"]",
            "\"exit\"\nredial = \"often\"",
            "unknown redial \"often\": there are none, after-refusal",
        ),
    ] {
        let problems = program(peer, judge).expect_err(expected).to_string();
        assert!(problems.contains(expected), "expected {expected}\nobserved {problems}");
    }
}

fn with_program(keys: &str) -> Result<Suite, Problems> {
    parse_here(&format!("{GOOD}\n[program]\npeer = [\"p\"]\n{keys}\n"))
}

#[test]
fn what_a_program_is_given_is_read() {
    let keys = "judge = { stdout = \"ok\" }\nstart = \"1s\"\nlinger = \"200ms\"\nstdin = \"x {role}\"\n\
                [[program.services]]\nname = \"stun\"\ncommand = [\"s\", \"{ip:core}\"]\nready = { udp = 3478 }";
    let suite = with_program(keys).expect("a good program");
    let Program { start, linger, stdin, services, .. } = &suite.parts[0].program;
    assert_eq!((*start, *linger), (Duration::from_secs(1), Some(Duration::from_millis(200))));
    let input = StandardInput { text: "x {role}".into(), then: AfterInput::End };
    assert_eq!(stdin.as_ref(), Some(&input));
    let stun = Service {
        name: "stun".into(),
        node: NodeName::core(),
        command: vec!["s".into(), "{ip:core}".into()],
        ready: Readiness::Udp(3478),
    };
    assert_eq!(services, &[stun]);
    let files = "files = [\"/opt/x\", \"{suite_dir}/x\", \"{puncher}\"]\nwritable = [\"{suite_dir}\"]";
    with_program(files).expect("good paths");
    let plain = with_program("judge = \"exit\"").expect("a good program");
    assert_eq!(plain.parts[0].program.start, Duration::from_millis(150));
}

#[test]
fn what_a_program_cannot_be_given_is_refused_with_its_line() {
    let service = |rest: &str| format!("[[program.services]]\nname = \"stun\"\ncommand = [\"s\"]\n{rest}");
    let ready = "ready = { tcp = 1 }";
    for (keys, expected) in [
        ("start = \"2s\"".to_owned(), "programs begin 2s after they are started, when their deadline of 2s"),
        ("judge = \"exit\"\nlinger = \"1s\"".to_owned(), "t.toml:18: linger is for programs that stay"),
        ("stdin = 3".to_owned(), "t.toml:17: stdin must be"),
        ("stdin = { text = \"x\", then = \"go\" }".to_owned(), "t.toml:17: stdin must be"),
        ("stdin = \"{rolle}\"".to_owned(), "unknown placeholder {rolle}: did you mean \"role\"?"),
        ("env = { A = \"{ip:core}\" }".to_owned(), "{ip:core} is known in a lab only"),
        (
            "files = [\"x\"]".to_owned(),
            "t.toml:17: \"x\" begins neither with /, nor with {suite_dir} or {puncher}",
        ),
        ("files = [\"/nope\"]".to_owned(), "t.toml:17: there is no /nope"),
        ("writable = [\"/nope\"]".to_owned(), "t.toml:17: there is no /nope"),
        ("root = \"/nope\"".to_owned(), "t.toml:17: there is no /nope"),
        ("start = \"1000years\"".to_owned(), "t.toml:17: \"1000years\" is too long"),
        ("linger = \"1000years\"".to_owned(), "t.toml:17: \"1000years\" is too long"),
        ("env = { A = \"x\\u0000\" }".to_owned(), "t.toml:17: the value of \"A\" has a NUL character"),
        ("env = { \"A=\" = \"x\" }".to_owned(), "\"A=\" cannot be the name of an environment variable"),
        ("rendezvous = [\"s\", \"{role}\"]".to_owned(), "t.toml:17: {role} is another one for each peer"),
        ("rendezvous = [\"s\\u0000\"]".to_owned(), "t.toml:17: the argument \"s\\0\" has a NUL character"),
        (
            service(ready).replace("[\"s\"]", "[\"{peer_ip}\"]"),
            "t.toml:19: {peer_ip} is another one for each",
        ),
        (
            service(ready).replace("stun", "../x"),
            "t.toml:18: bad name \"../x\" of a service: it is made of lower-case letters, digits and dashes",
        ),
        (service("ready = { sctp = 1 }"), "t.toml:20: ready must be"),
        (service("ready = { tcp = 70000 }"), "t.toml:20: ready must be"),
        (service(&format!("node = \"nat-a\"\n{ready}")), "\"nat-a\" is neither a host nor a router"),
        (service(&format!("node = \"moon\"\n{ready}")), "the topology \"pair\" has no node \"moon\""),
        (service(ready).replace("stun", "peer-a"), "\"peer-a\" is the name of something else"),
        (service(&format!("{ready}\n{}", service(ready))), "two services are called \"stun\""),
        (
            service(ready).replace("[\"s\"]", "[\"{ip:moon}\"]"),
            "{ip:moon}: the topology \"pair\" has no such",
        ),
    ] {
        let problems = with_program(&keys).expect_err(expected).to_string();
        assert!(problems.contains(expected), "expected {expected}\nobserved {problems}");
    }
}

#[test]
fn a_suite_chooses_its_addresses() {
    let parse = |value: &str| parse_here(&GOOD.replace("trials = 5", &format!("addresses = {value}")));
    let suite = parse("\"public\"").expect("a good suite");
    assert_eq!(suite.parts[0].topology.addresses, AddressSet::Public.into());
    parse("{ private = [\"192.168.0.0/16\"] }").expect("a good suite");
    for (value, expected) in [
        ("\"publik\"", "t.toml:4: unknown addresses \"publik\": there are \"documentation\""),
        ("{ publik = [] }", "t.toml:4: unknown addresses \"publik\""),
        ("{ public = [\"5.6.0.0\"] }", "\"5.6.0.0\" is not a range"),
        ("{ public = [] }", "public has no value"),
        ("{ public = 4 }", "public must be a list of strings"),
        ("{ rendezvous = [\"5.6.0.1\"] }", "the rendezvous server has two addresses"),
        ("{ public = [\"10.0.0.0/8\"] }", "overlap"),
        ("4", "addresses are a name or a table"),
    ] {
        let problems = parse(value).expect_err(expected).to_string();
        assert!(problems.contains(expected), "expected {expected}\nobserved {problems}");
    }
}

const PARTS: &str = r#"name = "t"
summary = "s"
topology = "pair"
trials = 5

[groups]
two = ["sequential", "random"]

[[part]]
name = "one"
axes = { nat-a = ["@two"], nat-b = ["@all"], method = ["auto"] }
unordered = ["nat-a", "nat-b"]

[[part]]
name = "two"
trials = 7
deadline = "1s"
axes = { nat-a = ["random", "@two"], nat-b = ["random"], method = ["auto"] }
"#;

#[test]
fn parts_take_from_the_suite_what_they_leave_out() {
    let suite = parse_here(PARTS).expect("a good suite");
    let said: Vec<_> = suite.parts.iter().map(|p| (p.trials, p.budget.deadline.as_secs())).collect();
    assert_eq!(said, [(5, 3), (7, 1)]);
    let ids: Vec<_> = suite.cells().into_iter().map(|cell| cell.id).collect();
    let expected = [
        "one/sequential/port-preserving/auto",
        "one/sequential/sequential/auto",
        "one/sequential/random/auto",
        "one/random/port-preserving/auto",
        "one/random/random/auto",
        "two/random/random/auto",
        "two/sequential/random/auto",
    ];
    assert_eq!(ids, expected);
}

#[test]
fn each_problem_of_a_part_is_named_with_its_line() {
    for (from, to, expected) in [
        ("name = \"two\"", "name = \"one\"", "t.toml:15: two parts are called \"one\""),
        ("name = \"two\"", "name = \"Two!\"", "t.toml:15: bad name \"Two!\" of a part"),
        (
            "@two",
            "@too",
            "t.toml:11: unknown group \"too\"\n  help: did you mean \"two\"? there are two, all",
        ),
        ("\"random\"]", "\"cone\"]", "t.toml:7: unknown NAT \"cone\""),
        ("[\"auto\"]", "[\"@all\"]", "t.toml:11: unknown group \"all\""),
        ("\"nat-b\"]", "\"nat-c\"]", "t.toml:12: no axis \"nat-c\" here"),
        ("\"nat-b\"]", "\"nat-a\"]", "t.toml:12: two different axes have no order"),
        ("topology = \"pair\"\n", "", "t.toml:10: no topology"),
        ("[groups]", "[axes]\nnat-a = []\n[groups]", "t.toml:6: a suite has either axes or parts"),
    ] {
        refused(&PARTS.replacen(from, to, 1), expected);
    }
    let neither = "name = \"t\"\nsummary = \"s\"\ntopology = \"pair\"\n";
    refused(neither, "a suite has [axes], or a [[part]]");
}
