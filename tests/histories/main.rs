//! A real server that is killed again and again under clients that write down all they see: what they saw must be
//! what one store, never killed, could have said.

mod asks;
mod killed;
mod run;
mod watches;
