//! One of the engines, chosen when the process starts.
use bytes::Bytes;

#[cfg(feature = "rocks")]
use super::rocks::{Rocks, RocksCursor, RocksView};
use super::{
    Batch, Cursor, Engine, EngineSize, EngineWork, Family, Part, Read, Readback,
    mem::{Mem, MemCursor, MemView},
};
use crate::error::Fatal;

/// An engine.
#[derive(Clone, Debug)]
pub enum AnyEngine {
    /// In memory.
    Mem(Mem),
    /// Durable.
    #[cfg(feature = "rocks")]
    Rocks(Rocks),
}

/// A pinned view of an [`AnyEngine`].
#[derive(Clone, Debug)]
pub enum AnyView {
    /// Of the one in memory.
    Mem(MemView),
    /// Of the durable one.
    #[cfg(feature = "rocks")]
    Rocks(RocksView),
}

/// A position in an [`AnyView`].
pub enum AnyCursor<'a> {
    /// In the one in memory.
    Mem(MemCursor<'a>),
    /// In the durable one.
    #[cfg(feature = "rocks")]
    Rocks(RocksCursor<'a>),
}

/// The same call on whichever it is.
macro_rules! either {
    ($any:expr, $kind:ident, $each:ident => $call:expr) => {
        match $any {
            $kind::Mem($each) => $call,
            #[cfg(feature = "rocks")]
            $kind::Rocks($each) => $call,
        }
    };
}

impl From<Mem> for AnyEngine {
    fn from(mem: Mem) -> Self {
        AnyEngine::Mem(mem)
    }
}

#[cfg(feature = "rocks")]
impl From<Rocks> for AnyEngine {
    fn from(rocks: Rocks) -> Self {
        AnyEngine::Rocks(rocks)
    }
}

impl Engine for AnyEngine {
    type View = AnyView;

    fn write(&self, batch: Batch) -> Result<(), Fatal> {
        either!(self, AnyEngine, engine => engine.write(batch))
    }

    fn view(&self) -> AnyView {
        match self {
            AnyEngine::Mem(engine) => AnyView::Mem(engine.view()),
            #[cfg(feature = "rocks")]
            AnyEngine::Rocks(engine) => AnyView::Rocks(engine.view()),
        }
    }

    fn flush(&self) -> Result<(), Fatal> {
        either!(self, AnyEngine, engine => engine.flush())
    }

    fn size(&self) -> EngineSize {
        either!(self, AnyEngine, engine => engine.size())
    }

    fn parts(&self) -> Result<Vec<Part>, Fatal> {
        either!(self, AnyEngine, engine => engine.parts())
    }

    fn defragment(&self, part: &Part) -> Result<(), Fatal> {
        either!(self, AnyEngine, engine => engine.defragment(part))
    }

    fn readback(&self) -> Result<Box<dyn Readback>, Fatal> {
        either!(self, AnyEngine, engine => engine.readback())
    }

    fn abandon(&self) {
        either!(self, AnyEngine, engine => engine.abandon())
    }

    fn work(&self) -> EngineWork {
        either!(self, AnyEngine, engine => engine.work())
    }
}

impl Read for AnyView {
    type Cursor<'a> = AnyCursor<'a>;

    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Bytes>, Fatal> {
        either!(self, AnyView, view => view.get(family, key))
    }

    fn get_many<K: AsRef<[u8]>>(&self, family: Family, keys: &[K]) -> Result<Vec<Option<Bytes>>, Fatal> {
        either!(self, AnyView, view => view.get_many(family, keys))
    }

    fn cursor(&self, family: Family) -> AnyCursor<'_> {
        match self {
            AnyView::Mem(view) => AnyCursor::Mem(view.cursor(family)),
            #[cfg(feature = "rocks")]
            AnyView::Rocks(view) => AnyCursor::Rocks(view.cursor(family)),
        }
    }
}

impl Cursor for AnyCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), Fatal> {
        either!(self, AnyCursor, cursor => cursor.seek(key))
    }

    fn seek_back(&mut self, key: &[u8]) -> Result<(), Fatal> {
        either!(self, AnyCursor, cursor => cursor.seek_back(key))
    }

    fn next(&mut self) -> Result<(), Fatal> {
        either!(self, AnyCursor, cursor => cursor.next())
    }

    fn prev(&mut self) -> Result<(), Fatal> {
        either!(self, AnyCursor, cursor => cursor.prev())
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        either!(self, AnyCursor, cursor => cursor.row())
    }
}
