//! What is wrong with a file, and on which line: the form in which suites, topologies and catalogues are refused.
//!
//! A checker collects every problem it finds, so that a user mends a file once.

use std::fmt;
use std::ops::Range;

use crate::model::plain_words::plain_words;
pub use crate::model::suggestion::{nearest, suggestion};

/// One thing that is wrong with a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as the user knows it.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Everything that is wrong with a file, in the order of its lines; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        match &self.help {
            Some(help) => write!(f, "\n  help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Collects the problems of one file.
#[derive(Debug)]
pub struct Checker<'a> {
    file: &'a str,
    text: &'a str,
    found: Vec<Problem>,
    doubts: Vec<Problem>,
}

impl<'a> Checker<'a> {
    /// A checker of `text`, which came from `file`.
    #[must_use]
    pub fn new(file: &'a str, text: &'a str) -> Self {
        Self { file, text, found: Vec::new(), doubts: Vec::new() }
    }

    /// Notes a problem at this range of bytes.
    pub fn report(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.push(span, message.into(), None);
    }

    /// Notes a problem and what to do about it.
    pub fn report_with_help(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.push(span, message.into(), Some(help.into()));
    }

    /// Notes what may be a mistake or may be meant, and what to do about it: the file is good all the same.
    pub fn doubt(&mut self, span: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let doubt = self.problem(span.start, message.into(), Some(help.into()));
        if !self.doubts.contains(&doubt) {
            self.doubts.push(doubt);
        }
    }

    /// What may be a mistake, as sentences in the order in which it was noted.
    #[must_use]
    pub fn doubts(&self) -> Vec<String> {
        self.doubts.iter().map(ToString::to_string).collect()
    }

    /// Keeps the value of a check, or notes why there is none.
    pub fn keep<T, E: fmt::Display>(&mut self, span: Range<usize>, checked: Result<T, E>) -> Option<T> {
        checked.map_err(|why| self.report(span, why.to_string())).ok()
    }

    /// Whether nothing was found so far.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.found.is_empty()
    }

    /// How many problems were found so far.
    #[must_use]
    pub fn found(&self) -> usize {
        self.found.len()
    }

    /// Reads the text as TOML of this shape.
    ///
    /// # Errors
    /// The first thing that does not fit, as the TOML reader names it.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Problems> {
        toml::from_str(self.text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let (message, help) = plain_words(error.message());
            Problems(vec![self.problem(start, message, help)])
        })
    }

    /// The value, if there is one and nothing was found.
    ///
    /// # Errors
    /// All that was found.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<T, Problems> {
        self.found.sort_by_key(|problem| problem.line);
        match value {
            Some(value) if self.found.is_empty() => Ok(value),
            _ => Err(Problems(self.found)),
        }
    }

    fn push(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        self.found.push(self.problem(span.start, message, help));
    }

    fn problem(&self, offset: usize, message: String, help: Option<String>) -> Problem {
        let before = &self.text.as_bytes()[..offset.min(self.text.len())];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Problem { file: self.file.to_owned(), line, message, help }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_the_line_and_come_in_order() {
        let mut checker = Checker::new("x.toml", "one\ntwo\nthree\n");
        checker.report(8..9, "third");
        checker.report_with_help(0..1, "first", "do this");
        let problems = checker.finish(Some(())).expect_err("two problems");
        assert_eq!(problems.to_string(), "x.toml:1: first\n  help: do this\nx.toml:3: third");
    }
}
