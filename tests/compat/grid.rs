//! The grid: how often each (RPC, option, outcome) was met. A cell that can be reached must be reached
//! often, so the generator is steered towards thin ones.
use std::collections::BTreeMap;
use std::fmt;

/// A reachable cell counts as tried after so many hits.
pub const HITS_MIN: u32 = 20;
/// One cell in so many may stay thin: rare meetings of two options under one outcome.
const THIN_ONE_IN: usize = 50;

/// See the module.
#[derive(Debug, Default)]
pub struct Grid {
    cells: BTreeMap<(String, String, String), u32>,
}

impl Grid {
    /// Notes one answer. Products of two options (`a x b`) count only where something was answered: a
    /// refusal does not depend on them. Whether one may ask depends on who asks for which range.
    pub fn hit(&mut self, rpc: &str, options: &[String], outcome: &str) {
        let begins = |option: &str, with: &[&str]| with.iter().any(|it| option.starts_with(it));
        let counts = |option: &&String| match outcome {
            "refused" => !option.contains(" x ") && !begins(option, &["beside ", "as ", "with "]),
            "denied" | "unknown asker" | "alarm" => {
                begins(option, &["any", "as ", "with ", "range=", "error="])
            }
            "more" => !begins(option, &["beside ", "as ", "with "]),
            _ => true,
        };
        for option in options.iter().filter(counts) {
            let cell = (rpc.to_string(), option.clone(), outcome.to_string());
            *self.cells.entry(cell).or_default() += 1;
        }
    }

    /// Both together.
    pub fn and(&self, other: &Grid) -> Grid {
        let mut sum = Grid { cells: self.cells.clone() };
        for (cell, hits) in &other.cells {
            *sum.cells.entry(cell.clone()).or_default() += hits;
        }
        sum
    }

    /// Cells that were met, but not often enough: RPC, option, outcome.
    pub fn thin(&self) -> impl Iterator<Item = &(String, String, String)> {
        self.cells.iter().filter(|(_, hits)| **hits < HITS_MIN).map(|(cell, _)| cell)
    }

    /// Whether more cells are thin than may stay so.
    pub fn is_thin(&self) -> bool {
        self.thin().count() * THIN_ONE_IN > self.len()
    }

    /// The thin cells, one line each.
    pub fn thin_lines(&self) -> Vec<String> {
        let thin = self.cells.iter().filter(|(_, hits)| **hits < HITS_MIN);
        thin.map(|((rpc, option, outcome), hits)| format!("{rpc} [{option}] {outcome}: {hits}")).collect()
    }

    /// Whether this RPC ever had this outcome.
    pub fn has(&self, rpc: &str, option: &str, outcome: &str) -> bool {
        self.cells.contains_key(&(rpc.to_string(), option.to_string(), outcome.to_string()))
    }

    /// Number of cells.
    pub fn len(&self) -> usize {
        self.cells.len()
    }
}

impl fmt::Display for Grid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for ((rpc, option, outcome), hits) in &self.cells {
            rows.entry((rpc, option)).or_default().push(format!("{outcome} {hits}"));
        }
        for ((rpc, option), outcomes) in rows {
            writeln!(out, "{rpc:<16} {option:<60} {}", outcomes.join(" · "))?;
        }
        Ok(())
    }
}
