package dataplane

import (
	"encoding/binary"
	"os"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

func queueExpr(num uint16, bypass bool) expr.Any {
	if os.Getenv("NFQUEUE_XT") != "1" {
		q := &expr.Queue{Num: num}
		if bypass {
			q.Flag = expr.QueueFlagBypass
		}
		return q
	}
	info := make(xt.Unknown, 6) // struct xt_NFQ_info_v3: queuenum, queues_total, flags
	binary.NativeEndian.PutUint16(info[0:], num)
	binary.NativeEndian.PutUint16(info[2:], 1)
	if bypass {
		binary.NativeEndian.PutUint16(info[4:], 1)
	}
	return &expr.Target{Name: "NFQUEUE", Rev: 3, Info: &info}
}
