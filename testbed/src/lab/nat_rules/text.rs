//! Writes nft text: tables, sets and chains with a comment above each rule.

/// What the inside sends to the outside. The NAT's own answers to strangers leave by the same device, and have the address and port
/// that were asked.
pub(super) const OUTWARDS: &str = "iifname \"lan*\" oifname \"wan\"";

/// A chain under construction.
#[derive(Debug)]
pub(super) struct Chain {
    name: String,
    hook: Option<&'static str>,
    lines: Vec<String>,
}

impl Chain {
    /// A chain at a hook: `type … hook … priority …`.
    pub(super) fn base(name: &str, hook: &'static str) -> Self {
        Self { name: name.to_owned(), hook: Some(hook), lines: Vec::new() }
    }

    /// A chain that others jump to.
    pub(super) fn regular(name: &str) -> Self {
        Self { name: name.to_owned(), hook: None, lines: Vec::new() }
    }

    /// Adds a comment; the next rules are what it is about.
    pub(super) fn note(&mut self, comment: impl AsRef<str>) -> &mut Self {
        self.lines.extend(comment.as_ref().lines().map(|line| format!("# {line}")));
        self
    }

    /// Adds a rule.
    pub(super) fn rule(&mut self, rule: impl AsRef<str>) -> &mut Self {
        self.lines.push(rule.as_ref().trim().to_owned());
        self
    }

    /// The number of rules.
    pub(super) fn rules(&self) -> usize {
        self.lines.iter().filter(|line| !line.starts_with('#')).count()
    }

    /// The same rules, each under one more condition.
    pub(super) fn under(&self, condition: &str) -> Self {
        let line = |line: &String| match line.starts_with('#') {
            true => line.clone(),
            false => format!("{condition} {line}"),
        };
        Self { name: self.name.clone(), hook: self.hook, lines: self.lines.iter().map(line).collect() }
    }

    /// Adds the rules and comments of another chain.
    pub(super) fn append(&mut self, other: &Self) -> &mut Self {
        self.lines.extend(other.lines.iter().cloned());
        self
    }

    /// Whether the chain does anything.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    fn text(&self) -> String {
        let hook = self.hook.map(|hook| format!("        type {hook}; policy accept;\n"));
        let lines: String = self.lines.iter().map(|line| format!("        {line}\n")).collect();
        format!("    chain {} {{\n{}{lines}    }}\n", self.name, hook.unwrap_or_default())
    }
}

/// A table of sets, then chains; empty text if it holds no chain. Chains without rules are left out.
pub(super) fn table(name: &str, sets: &[String], chains: &[Chain]) -> String {
    let chains: Vec<String> = chains.iter().filter(|c| !c.is_empty()).map(Chain::text).collect();
    if chains.is_empty() {
        return String::new();
    }
    let parts: Vec<String> = sets.iter().cloned().chain(chains).collect();
    format!("table ip {name} {{\n{}}}\n", parts.join("\n"))
}
