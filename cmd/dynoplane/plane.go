package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	dynodv1 "github.com/dynod/dynod/proto/dynod/v1"
)

// plane is the whole behaviour of the control plane's receiving side: the UpstreamService. It keeps everything in files
// below dir, which nothing ever removes:
//
//	reports.jsonl      every report as it came: {"received": time, "report": ReportRequest}
//	hosts/<host>.json  the newest state of a host: a ReportRequest with snapshot set and all its dynos
//	logs/<dyno>.log    every log line once: <stream> <offset> <size> <lost> <RFC3339Nano> <quoted text>
//	stats.json         counters (see stats)
//
// The rule for both streams: what is acknowledged has been written. An agent sends again what was not acknowledged, so
// that neither its death nor ours loses anything; it may then send what we have already, which for logs the position in
// the stream tells apart. "Written" is here: handed to the kernel. That outlives this process but not a power cut; a
// production control plane would fsync, or write to several machines, before it acknowledges.
type plane struct {
	dynodv1.UnimplementedUpstreamServiceServer
	dir string

	mu sync.Mutex // guards the rest and the files of dir
	// delivered is how far each stream of each dyno is written: the end of the last line in its file. A dyno not in the
	// map is looked up there, which is how this process finds its place again after its own restart.
	delivered map[string]cursors
	stats     stats
	unsaved   bool // stats changed since they were last written
}

// cursors are positions by stream: everything below is written.
type cursors map[dynodv1.LogStream]int64

// powerCut is a hole so wide that it says nothing of what was lost, but that it was after a power cut.
const powerCut = 1 << 36

// stats count what came since dir was made.
type stats struct {
	Reports        int64 `json:"reports"`
	Batches        int64 `json:"batches"`
	Lines          int64 `json:"lines"`           // written
	Bytes          int64 `json:"bytes"`           // of the streams, covered by those lines
	DuplicateLines int64 `json:"duplicate_lines"` // sent again and dropped
	DuplicateBytes int64 `json:"duplicate_bytes"`
	LostBytes      int64 `json:"lost_bytes"` // dropped on the host, and said so
	Gaps           int64 `json:"gaps"`       // places where bytes are missing and nobody said so: must stay 0
	GapBytes       int64 `json:"gap_bytes"`
}

func newPlane(dir string) (*plane, error) {
	for _, d := range []string{dir, filepath.Join(dir, "hosts"), filepath.Join(dir, "logs")} {
		if err := os.MkdirAll(d, 0o750); err != nil {
			return nil, fmt.Errorf("open data: %w", err)
		}
	}
	p := &plane{dir: dir, delivered: map[string]cursors{}}
	if err := eachLine(p.reportsFile(), func(string) error { return nil }); err != nil {
		return nil, fmt.Errorf("open data: %w", err)
	}
	data, err := os.ReadFile(p.statsFile())
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open data: %w", err)
	}
	if err == nil {
		if err := json.Unmarshal(data, &p.stats); err != nil {
			return nil, fmt.Errorf("open data: read %s: %w", p.statsFile(), err)
		}
	}
	return p, nil
}

func (p *plane) reportsFile() string { return filepath.Join(p.dir, "reports.jsonl") }
func (p *plane) statsFile() string   { return filepath.Join(p.dir, "stats.json") }

// saveStats writes the counters if they changed. They are not worth a write for each batch: after a SIGKILL they may
// miss the last moments.
func (p *plane) saveStats() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.unsaved {
		return nil
	}
	data, err := json.MarshalIndent(p.stats, "", "  ")
	if err != nil {
		return fmt.Errorf("save stats: %w", err)
	}
	if err := renameio.WriteFile(p.statsFile(), append(data, '\n'), 0o640); err != nil {
		return fmt.Errorf("save stats: %w", err)
	}
	p.unsaved = false
	return nil
}

// --- Reports ---

// hostName is what may become a file's name.
var hostName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,252}$`)

// Report receives one agent's reports for as long as its connection lasts.
func (p *plane) Report(stream grpc.BidiStreamingServer[dynodv1.ReportRequest, dynodv1.ReportResponse]) error {
	view := hostView{dynos: map[string]*dynodv1.Dyno{}}
	for {
		report, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := view.apply(report); err != nil {
			return err
		}
		if err := p.keepReport(report, &view); err != nil {
			return status.Errorf(codes.Internal, "keep report: %v", err)
		}
		if err := stream.Send(&dynodv1.ReportResponse{Acknowledged: report.GetSequence()}); err != nil {
			return err
		}
	}
}

// hostView is what the reports of one connection add up to.
type hostView struct {
	newest *dynodv1.ReportRequest
	dynos  map[string]*dynodv1.Dyno
}

// apply checks a report against the order of the protocol and takes it in.
func (v *hostView) apply(r *dynodv1.ReportRequest) error {
	switch {
	case !hostName.MatchString(r.GetHost().GetName()):
		return status.Errorf(codes.InvalidArgument, "host.name: %q cannot be a host's name", r.GetHost().GetName())
	case r.GetSequence() != v.newest.GetSequence()+1:
		return status.Errorf(codes.InvalidArgument, "sequence: got %d after %d", r.GetSequence(), v.newest.GetSequence())
	case v.newest == nil && !r.GetSnapshot():
		return status.Error(codes.InvalidArgument, "snapshot: the first report of a connection must be one")
	case v.newest != nil && r.GetHost().GetName() != v.newest.GetHost().GetName():
		return status.Error(codes.InvalidArgument, "host.name: changed within a connection")
	}
	v.newest = r
	if r.GetSnapshot() {
		clear(v.dynos)
	}
	for _, d := range r.GetDynos() {
		v.dynos[d.GetId()] = d
	}
	for _, id := range r.GetForgotten() {
		delete(v.dynos, id)
	}
	return nil
}

// snapshot is the host as it stands, in the words of a report.
func (v *hostView) snapshot() *dynodv1.ReportRequest {
	whole := &dynodv1.ReportRequest{
		Sequence: v.newest.GetSequence(), Time: v.newest.GetTime(), Host: v.newest.GetHost(), Snapshot: true,
	}
	for _, id := range slices.Sorted(maps.Keys(v.dynos)) {
		whole.Dynos = append(whole.Dynos, v.dynos[id])
	}
	return whole
}

func (p *plane) keepReport(r *dynodv1.ReportRequest, view *hostView) error {
	report, err := protojson.Marshal(r)
	if err != nil {
		return err
	}
	line, err := json.Marshal(struct {
		Received time.Time       `json:"received"`
		Report   json.RawMessage `json:"report"`
	}{time.Now().UTC(), report})
	if err != nil {
		return err
	}
	whole, err := indented(view.snapshot())
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := appendTo(p.reportsFile(), append(line, '\n')); err != nil {
		return err
	}
	p.stats.Reports++
	p.unsaved = true
	return renameio.WriteFile(filepath.Join(p.dir, "hosts", r.GetHost().GetName()+".json"), whole, 0o640)
}

// --- Logs ---

// dynoID is what may become a file's name.
var dynoID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// streamNames are the streams' names in the log files.
var streamNames = map[dynodv1.LogStream]string{
	dynodv1.LogStream_LOG_STREAM_STDOUT:   "stdout",
	dynodv1.LogStream_LOG_STREAM_STDERR:   "stderr",
	dynodv1.LogStream_LOG_STREAM_PLATFORM: "platform",
}

// ShipLogs receives one agent's batches for as long as its connection lasts.
func (p *plane) ShipLogs(stream grpc.BidiStreamingServer[dynodv1.ShipLogsRequest, dynodv1.ShipLogsResponse]) error {
	for {
		batch, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := checkBatch(batch); err != nil {
			return err
		}
		delivered, err := p.keepBatch(batch)
		if err != nil {
			return status.Errorf(codes.Internal, "keep log lines: %v", err)
		}
		if err := stream.Send(&dynodv1.ShipLogsResponse{Batch: batch.GetBatch(), Delivered: delivered}); err != nil {
			return err
		}
	}
}

// checkBatch refuses a batch that makes no sense before anything of it is kept.
func checkBatch(batch *dynodv1.ShipLogsRequest) error {
	for _, r := range batch.GetRuns() {
		if err := checkRun(r); err != nil {
			return status.Errorf(codes.InvalidArgument, "dyno %q, %s at %d: %v", r.GetDynoId(), r.GetStream(), r.GetOffset(), err)
		}
	}
	return nil
}

func checkRun(r *dynodv1.LogRun) error {
	switch {
	case !dynoID.MatchString(r.GetDynoId()):
		return errors.New("dyno_id: not a lower-case UUID")
	case streamNames[r.GetStream()] == "":
		return errors.New("stream: unknown")
	case r.GetOffset() < 0 || r.GetOffset()+int64(len(r.GetText())) < 0:
		return fmt.Errorf("text: %d bytes are not possible there", len(r.GetText()))
	case r.GetLostBytes() < 0 || r.GetLostBytes() > r.GetOffset():
		return fmt.Errorf("lost_bytes: %d is not possible there", r.GetLostBytes())
	case len(r.GetText()) == 0 && r.GetLostBytes() == 0:
		return errors.New("text: nothing, not even a loss")
	case len(r.GetLaterAt()) != len(r.GetLaterNanos()):
		return fmt.Errorf("later_nanos: %d for %d of later_at", len(r.GetLaterNanos()), len(r.GetLaterAt()))
	default:
		return nil
	}
}

// keepBatch writes what is new of a batch and tells how far each of its streams is written now.
func (p *plane) keepBatch(batch *dynodv1.ShipLogsRequest) ([]*dynodv1.LogCursor, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	type key struct {
		id     string
		stream dynodv1.LogStream
	}
	last := map[key]*dynodv1.LogCursor{}
	var delivered []*dynodv1.LogCursor
	for _, r := range batch.GetRuns() {
		if err := p.keepRun(r); err != nil {
			// Part of it may be in the file: the next batch must look there anew.
			delete(p.delivered, r.GetDynoId())
			return nil, err
		}
		k := key{r.GetDynoId(), r.GetStream()}
		if last[k] == nil {
			last[k] = &dynodv1.LogCursor{DynoId: k.id, Stream: k.stream}
			delivered = append(delivered, last[k])
		}
		last[k].Offset = p.delivered[k.id][k.stream]
	}
	p.stats.Batches++
	p.unsaved = true
	return delivered, nil
}

func (p *plane) keepRun(r *dynodv1.LogRun) error {
	id := r.GetDynoId()
	file := filepath.Join(p.dir, "logs", id+".log")
	if p.delivered[id] == nil {
		found, err := readCursors(file)
		if err != nil {
			return err
		}
		p.delivered[id] = found
	}
	// Cursors and counters are moved in copies: they hold only once the lines are written.
	next, count := maps.Clone(p.delivered[id]), p.stats
	var fresh bytes.Buffer
	for l := range r.Lines() {
		if l := place(l, next, &count); l != nil {
			fresh.WriteString(formatLine(l))
		}
	}
	if err := appendTo(file, fresh.Bytes()); err != nil {
		return err
	}
	p.delivered[id], p.stats = next, count
	return nil
}

// place holds a line against how far its stream is written. It gives what of the line is new, or nil, and moves the
// cursor past it.
func place(l *dynodv1.LogLine, at cursors, count *stats) *dynodv1.LogLine {
	cursor := at[l.GetStream()]
	end := l.GetOffset() + l.GetSize()
	if end <= cursor {
		count.DuplicateLines++
		count.DuplicateBytes += l.GetSize()
		return nil
	}
	fresh := &dynodv1.LogLine{
		Stream: l.GetStream(), Offset: max(l.GetOffset(), cursor), Time: l.GetTime(), Text: l.GetText(),
	}
	fresh.Size = end - fresh.GetOffset()
	if seen := fresh.GetOffset() - l.GetOffset(); seen > 0 { // its beginning came before, as a line cut elsewhere
		count.DuplicateBytes += seen
		fresh.Text = l.GetText()[min(seen, int64(len(l.GetText()))):]
	}
	hole := fresh.GetOffset() - cursor
	fresh.LostBytes = min(l.GetLostBytes(), hole)
	if fresh.GetLostBytes() < powerCut {
		count.LostBytes += fresh.GetLostBytes()
	}
	if gap := hole - fresh.GetLostBytes(); gap > 0 { // also after dir was removed under a living dyno
		count.Gaps++
		count.GapBytes += gap
	}
	count.Lines++
	count.Bytes += fresh.GetSize()
	at[l.GetStream()] = end
	return fresh
}

// formatLine is one line of a log file. The quoting is Go's: it keeps every byte, and every line on one line.
func formatLine(l *dynodv1.LogLine) string {
	return fmt.Sprintf("%s %d %d %d %s %s\n", streamNames[l.GetStream()], l.GetOffset(), l.GetSize(), l.GetLostBytes(),
		l.GetTime().AsTime().Format(time.RFC3339Nano), strconv.Quote(string(l.GetText())))
}

// readCursors finds how far the streams in a log file are written. No file: nothing is written.
func readCursors(name string) (cursors, error) {
	found := cursors{}
	return found, eachLine(name, found.advance)
}

// eachLine reads the lines of a file that is to be appended to; there may be none. A last line that was not finished,
// because this process or the disk ended in the middle, was never acknowledged: it is cut off.
func eachLine(name string, read func(string) error) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer file.Close()
	reader, whole := bufio.NewReader(file), int64(0)
	for {
		line, err := reader.ReadString('\n')
		if errors.Is(err, io.EOF) {
			return file.Truncate(whole)
		}
		if err != nil {
			return err
		}
		if err := read(line); err != nil {
			return fmt.Errorf("read %s at %d: %w", name, whole, err)
		}
		whole += int64(len(line))
	}
}

// advance moves a cursor past a line of a log file.
func (c cursors) advance(line string) error {
	fields := strings.SplitN(line, " ", 4)
	if len(fields) < 4 {
		return errors.New("not a log line")
	}
	for stream, name := range streamNames {
		if name != fields[0] {
			continue
		}
		offset, offsetErr := strconv.ParseInt(fields[1], 10, 64)
		size, sizeErr := strconv.ParseInt(fields[2], 10, 64)
		c[stream] = offset + size
		return errors.Join(offsetErr, sizeErr)
	}
	return fmt.Errorf("%q is not a stream", fields[0])
}

// appendTo writes data to the end of a file, or nothing.
func appendTo(name string, data []byte) error {
	if len(data) == 0 {
		return nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE, 0o640)
	if err != nil {
		return err
	}
	end, err := file.Seek(0, io.SeekEnd)
	if err == nil {
		if _, err = file.Write(data); err != nil {
			err = errors.Join(err, file.Truncate(end))
		}
	}
	return errors.Join(err, file.Close())
}

// indented is a message as readable JSON, laid out here because protojson varies its spaces on purpose.
func indented(m proto.Message) ([]byte, error) {
	text, err := protojson.Marshal(m)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Indent(&out, text, "", "  "); err != nil {
		return nil, err
	}
	out.WriteByte('\n')
	return out.Bytes(), nil
}
