//! The page of a run in a real browser: nothing of it is wider than the screen, and nothing is fetched.

use std::path::Path;
use std::process::Command;

use super::explain::red_run;
use crate::lab::{has_tool, lab_is_possible};

/// A phone and a desk.
const WIDTHS: [u32; 2] = [400, 1200];

/// Where the screenshots go, if somebody wants to look at them.
const KEEP: &str = "SCREENSHOTS";

#[test]
fn the_page_of_a_run_fits_a_phone_and_a_desk() {
    if !lab_is_possible() || !has_tool("chromium") {
        return;
    }
    let page = red_run().path().join("run/report.html");
    let text = std::fs::read_to_string(&page).expect("the page");
    assert!(
        text.contains("<svg class=\"ladder\"") && text.matches("<script").count() == 1,
        "a page with ladders, and its own script"
    );
    let folder = tempfile::tempdir().expect("a folder");
    for width in WIDTHS {
        let picture = folder.path().join(format!("report-{width}.png"));
        browser(
            &[
                "--hide-scrollbars",
                &format!("--window-size={width},2400"),
                &format!("--screenshot={}", picture.display()),
            ],
            &page,
        );
        let pixels = std::fs::read(&picture).expect("a screenshot");
        assert_eq!(u32::from_be_bytes(pixels[16..20].try_into().expect("a width")), width);
        assert!(pixels.len() > 10_000, "{} bytes are an empty page", pixels.len());
        if let Some(keep) = std::env::var_os(KEEP) {
            std::fs::copy(&picture, Path::new(&keep).join(format!("report-{width}.png"))).expect("a copy");
        }
        // The browser itself says how wide the page wants to be, by a copy of it that may run one script.
        let measured = folder.path().join("measured.html");
        let script =
            "<script>document.title = document.documentElement.scrollWidth + ' of ' + innerWidth</script>";
        std::fs::write(&measured, format!("{text}{script}")).expect("room on the disk");
        let dom = browser(&[&format!("--window-size={width},2400"), "--dump-dom"], &measured);
        let title =
            dom.split("<title>").nth(1).and_then(|rest| rest.split("</title>").next()).expect("a title");
        let (wants, has) = title.split_once(" of ").expect("two widths");
        let number = |text: &str| text.parse::<u32>().expect("a width");
        assert!(number(wants) <= number(has), "the page is {wants} wide on a screen of {has}");
    }
}

/// Runs the browser without its sandbox, which needs what a container may not have.
fn browser(arguments: &[&str], page: &Path) -> String {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]).args(arguments);
    let profile = tempfile::tempdir().expect("a folder");
    command.arg(format!("--user-data-dir={}", profile.path().display()));
    let output = command.arg(format!("file://{}", page.display())).output().expect("chromium");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
