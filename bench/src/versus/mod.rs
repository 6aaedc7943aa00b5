//! The same work on Bramble and what it is compared with: servers, scenes, and what is told of them.
//!
//! ```text
//! ```
pub mod least;
mod report;
mod rival;
mod scene;

pub use report::{Report, Spread, short};
pub use rival::{Programs, Rival, Running, Taken};
pub use scene::{Curve, Figures, Measured, Scene, data, scene};
