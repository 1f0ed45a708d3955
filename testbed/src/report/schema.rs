//! Whether a value fits the JSON Schema of the documentation, for tests: every keyword that it uses, and no other.

use serde_json::Value;

/// The schema of `results.json`.
pub(super) const RESULTS: &str = include_str!("../../../docs/results.schema.json");

/// Where and why `value` does not fit; keys that the schema does not name are faults too.
pub(super) fn faults(schema: &str, value: &Value) -> Vec<String> {
    let root: Value = serde_json::from_str(schema).expect("the schema is JSON");
    let mut faults = Vec::new();
    Checker { root: &root }.check(&root, value, "", &mut faults);
    faults
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        for (keyword, rule) in schema.as_object().expect("a schema is an object") {
            let fits = match keyword.as_str() {
                "$schema" | "title" | "description" | "$defs" | "properties" => true,
                "type" => has_type(value, rule.as_str().expect("a type is a word")),
                "const" => value == rule,
                "enum" => rule.as_array().expect("a list").contains(value),
                "minimum" => value.as_f64() >= rule.as_f64(),
                "maximum" => value.as_f64() <= rule.as_f64(),
                "required" => {
                    rule.as_array().expect("a list").iter().all(|key| value.get(text(key)).is_some())
                }
                "oneOf" => self.fitting(rule, value, at) == 1,
                "$ref" => {
                    self.check(self.resolve(text(rule)), value, at, faults);
                    true
                }
                "items" => {
                    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                        self.check(rule, item, &format!("{at}/{index}"), faults);
                    }
                    true
                }
                "additionalProperties" => {
                    for (key, member) in value.as_object().into_iter().flatten() {
                        self.check(rule, member, &format!("{at}/{key}"), faults);
                    }
                    true
                }
                other => panic!("the schema uses the keyword {other}, which this check does not know"),
            };
            if !fits {
                faults.push(format!("{at}: {keyword} {rule}"));
            }
        }
        self.properties(schema, value, at, faults);
    }

    fn properties(&self, schema: &Value, value: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(properties) = schema.get("properties") else { return };
        for (key, member) in value.as_object().into_iter().flatten() {
            match properties.get(key) {
                Some(rule) => self.check(rule, member, &format!("{at}/{key}"), faults),
                None => faults.push(format!("{at}/{key}: the schema does not name it")),
            }
        }
    }

    fn fitting(&self, choices: &Value, value: &Value, at: &str) -> usize {
        let fits = |choice: &&Value| {
            let mut faults = Vec::new();
            self.check(choice, value, at, &mut faults);
            faults.is_empty()
        };
        choices.as_array().expect("a list").iter().filter(fits).count()
    }

    fn resolve(&self, reference: &str) -> &Value {
        let pointer = reference.strip_prefix('#').expect("references stay in the file");
        self.root.pointer(pointer).unwrap_or_else(|| panic!("nothing is at {reference}"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a word")
}

fn has_type(value: &Value, name: &str) -> bool {
    match name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_u64() || value.is_i64(),
        other => panic!("unknown type {other}"),
    }
}
