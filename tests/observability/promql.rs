//! As much of PromQL as it takes to find the names of metrics in a query.

/// A list of labels follows these.
const LISTS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 5] = ["and", "or", "unless", "bool", "offset"];

/// Names of the metrics that `query` asks for: identifiers that are no function, no keyword, and stand in no list of labels.
pub fn names(query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = query;
    let mut labels = false;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => rest[1..].find('"').map_or(rest.len(), |end| end + 2),
            // Label matchers, and ranges.
            '{' | '[' => rest.find(if first == '{' { '}' } else { ']' }).map_or(rest.len(), |end| end + 1),
            '(' if labels => rest.find(')').map_or(rest.len(), |end| end + 1),
            c if c.is_ascii_alphabetic() || c == '_' => {
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':').unwrap_or(rest.len())
            }
            c if c.is_ascii_digit() => rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.').unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length);
        if first.is_ascii_alphabetic() || first == '_' {
            labels = LISTS.contains(&token);
            let next = after.trim_start();
            // Of a function or an aggregation: `sum(…)`, `sum by (…) (…)`.
            let called = ["(", "by ", "by(", "without ", "without("].iter().any(|start| next.starts_with(start));
            if !labels && !WORDS.contains(&token) && !called {
                names.push(token.to_owned());
            }
        } else if !first.is_whitespace() {
            labels = false;
        }
        rest = after;
    }
    names
}

#[test]
fn names_of_metrics_are_found_and_nothing_else() {
    let of = |query: &str| names(query).join(" ");
    assert_eq!(of(r#"histogram_quantile(0.99, sum by (namespace, le) (rate(a_bucket{stage="total (x)"}[5m]))) > 1"#), "a_bucket");
    assert_eq!(of(r#"(up{job=~".*"} == 1) unless on (namespace, instance) b_info"#), "up b_info");
    assert_eq!(of("time() - max by (namespace) (c_seconds) > 4 * 3 * 3600"), "c_seconds");
    assert_eq!(of("sum(rate(d_total[$__rate_interval])) / sum(e)"), "d_total e");
}
