package cloud

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// sources are where notices come from, and how they are written. There is nothing at a path without a notice.
var sources = []struct {
	kind  Kind
	path  string
	parse func(text []byte) ([]Notice, error)
}{
	{Interruption, "spot/instance-action", interruption},
	{Rebalance, "events/recommendations/rebalance", rebalance},
	{Maintenance, "events/maintenance/scheduled", maintenance},
	{Lifecycle, "autoscaling/target-lifecycle-state", lifecycle},
}

// notices asks for all kinds. What cannot be read stands as it was; errs has an error for each of these.
func (m metadata) notices(ctx context.Context, before []Notice) (now []Notice, errs []error) {
	for _, s := range sources {
		text, there, err := m.read(ctx, s.path)
		var found []Notice
		if err == nil && there {
			if found, err = s.parse(text); err != nil {
				err = fmt.Errorf("read %s: %w", s.path, err)
			}
		}
		if err != nil {
			errs = append(errs, err)
			found = of(s.kind, before)
		}
		for _, n := range found {
			n.Kind = s.kind
			now = append(now, n)
		}
	}
	return now, errs
}

func of(kind Kind, all []Notice) (some []Notice) {
	for _, n := range all {
		if n.Kind == kind {
			some = append(some, n)
		}
	}
	return some
}

func interruption(text []byte) ([]Notice, error) {
	var in struct {
		Action string    `json:"action"`
		Time   time.Time `json:"time"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	if in.Time.IsZero() || !word.MatchString(in.Action) {
		return nil, fmt.Errorf("no action and time in %.200q", text)
	}
	return []Notice{{ID: id(Interruption, in.Action, in.Time), Action: in.Action, Due: in.Time.UTC()}}, nil
}

func rebalance(text []byte) ([]Notice, error) {
	var in struct {
		NoticeTime time.Time `json:"noticeTime"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, err
	}
	if in.NoticeTime.IsZero() {
		return nil, fmt.Errorf("no time in %.200q", text)
	}
	return []Notice{{ID: id(Rebalance, "rebalance", in.NoticeTime), Action: "rebalance"}}, nil
}

// eventTime is how maintenance events write a time.
const eventTime = "2 Jan 2006 15:04:05 MST"

func maintenance(text []byte) (all []Notice, err error) {
	var events []struct {
		NotBefore, Code, Description, State string
		EventID                             string `json:"EventId"`
	}
	if err := json.Unmarshal(text, &events); err != nil {
		return nil, err
	}
	for _, e := range events {
		if e.State == "completed" || e.State == "canceled" {
			continue
		}
		if !word.MatchString(e.Code) || !word.MatchString(e.EventID) {
			return nil, fmt.Errorf("no code and id in %.200q", text)
		}
		due, err := time.Parse(eventTime, e.NotBefore)
		if err != nil {
			return nil, err
		}
		all = append(all, Notice{ID: e.EventID, Action: e.Code, Due: due.UTC(), Text: fmt.Sprintf("%.200s", e.Description)})
	}
	return all, nil
}

// inService is the state of an instance that its scaling group wants to keep.
const inService = "InService"

func lifecycle(text []byte) ([]Notice, error) {
	state := strings.TrimSpace(string(text))
	if state == inService {
		return nil, nil
	}
	if !word.MatchString(state) {
		return nil, fmt.Errorf("%.80q is no state", state)
	}
	return []Notice{{ID: string(Lifecycle) + "/" + state, Action: state}}, nil
}

// id is for notices to which the service gives none.
func id(kind Kind, action string, at time.Time) string {
	return fmt.Sprintf("%s/%s/%s", kind, action, at.UTC().Format(time.RFC3339))
}
