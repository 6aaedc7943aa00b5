//! The same work on Bramble and what it is compared with: servers, scenes, and what is told of them.
//!
//! ```text
//! Programs ─► Running (a Rival's server in a folder) ─► Scene::measure ─► Report ─► Markdown, JSON, plots
//! ```
pub mod least;
mod plots;
mod report;
mod rival;
mod scene;

pub use plots::Plot;
pub use report::{Report, Spread, short};
pub use rival::{Programs, Rival, Running, Taken, taken};
pub use scene::{Curve, Figures, Measured, Scene, WARM_UP, data, scene};
