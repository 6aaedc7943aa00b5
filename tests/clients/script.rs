//! Scripts of commands: lines, their standard input, their words.

/// One command of a script.
pub struct Step {
    /// The command as written.
    pub line: String,
    /// Its standard input.
    pub input: String,
}

/// The commands of a script; `#` begins a comment, `|` a line of input.
pub fn steps(script: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in script.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('|') {
            Some(input) => {
                let step = steps.last_mut().expect("input follows a command");
                step.input.push_str(input.strip_prefix(' ').unwrap_or(input));
                step.input.push('\n');
            }
            None => steps.push(Step { line: line.to_string(), input: String::new() }),
        }
    }
    steps
}

/// Words of a line; double quotes keep blanks together.
pub fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let (mut quoted, mut any) = (false, false);
    for letter in line.chars() {
        match letter {
            '"' => (quoted, any) = (!quoted, true),
            ' ' if !quoted => {
                if any {
                    words.push(String::new());
                }
                any = false;
            }
            _ => {
                words.last_mut().expect("there is always one").push(letter);
                any = true;
            }
        }
    }
    words
}
