package cf

import (
	"context"
)

// CellState is what the auction needs to know of a cell.
type CellState struct {
	ID        CellID
	Zone      string
	Segment   string // its isolation segment; "" = the shared one
	Stacks    []string
	Total     Resources
	Free      Resources
	Starting  int               // containers being created
	Processes map[ProcessID]int // instances it holds
}

// Resources of a cell, or asked of it.
type Resources struct {
	MemoryMB   int
	DiskMB     int
	Containers int
}

// Cells is the door from the scheduler's brain to the cells.
type Cells interface {
	// List returns the cells that are present.
	List(ctx context.Context) ([]CellState, error)
	// StartLRP asks a cell to run an instance; it returns once the cell has taken the work (reserved room for it),
	// or a KindNoRoom error. The cell reports everything else through LRPBoard.
	StartLRP(ctx context.Context, cell CellID, d DesiredLRP, a ActualLRP) error
	// StartTask is the same for a task.
	StartTask(ctx context.Context, cell CellID, t Task) error
	// StopLRP ends an instance gracefully (10 s). Unknown instances are no error.
	StopLRP(ctx context.Context, cell CellID, id InstanceID) error
	// UpdateLRP hands the cell a changed desired LRP of an instance that it runs: metric tags and the like.
	UpdateLRP(ctx context.Context, cell CellID, d DesiredLRP) error
	// CancelTask ends a task.
	CancelTask(ctx context.Context, cell CellID, id TaskID) error
	// Stats returns the newest readings of the instances of an app on the cell.
	Stats(ctx context.Context, cell CellID, app AppID) (map[InstanceID]InstanceStats, error)
}

// LRPBoard is the door from the cells back to the scheduler's brain. Every call is idempotent, names the instance
// guid it speaks of, and is refused with KindConflict when that instance is no longer the current one: the cell
// then destroys its container.
type LRPBoard interface {
	// Claimed: the cell has begun to create the container.
	Claimed(ctx context.Context, a ActualLRP) error
	// Started: the instance is healthy and listens at a.Address.
	Started(ctx context.Context, a ActualLRP) error
	// Crashed: the container ended although it should run, or never became healthy.
	Crashed(ctx context.Context, c Crash) error
	// Stopped: the container is gone because it was asked to go.
	Stopped(ctx context.Context, a ActualLRP) error
	// Refused gives back an instance that the cell took and then has no room for, before anything of it ran: it waits for a
	// cell again, and nothing crashed. why is in Diego's words.
	Refused(ctx context.Context, a ActualLRP, why string) error
	// Room: a container is gone of whose end the board heard before, so that there is room again.
	Room(ctx context.Context, cell CellID) error
	// TaskRefused is Refused for a task.
	TaskRefused(ctx context.Context, id TaskID, cell CellID, why string) error
	// TaskStarted and TaskDone tell of a task.
	TaskStarted(ctx context.Context, id TaskID, cell CellID) error
	TaskDone(ctx context.Context, t Task) error
	// Holds returns what the board believes the cell runs, for comparison at its start.
	Holds(ctx context.Context, cell CellID) (lrps []ActualLRP, desired []DesiredLRP, tasks []Task, err error)
}

// Work is one instance of an LRP, or a task, that needs a cell.
type Work struct {
	LRP     ProcessID // empty for a task
	Index   int
	Task    TaskID // empty for an LRP
	Segment string // goes to the cells of this one only
	Stack   string
	Need    Resources // Containers counts as 1, whatever it holds
}

// Placement is what the auction made of a piece of work.
type Placement struct {
	Work
	Cell  CellID // empty: not placed
	Error string // why not, in Diego's words
	Never bool   // not even empty cells could take it
}

// Auction decides which cells take the work; it answers in the order of work and keeps nothing.
type Auction func(work []Work, cells []CellState) []Placement
