package config

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
)

// FlagSet remembers what the command line says; Sources gives it to Load.
type FlagSet struct {
	file  string
	flags []Flag
}

// Bind adds --config and a flag for every setting but the sizes.
func (f *FlagSet) Bind(fs *pflag.FlagSet) {
	fs.StringVar(&f.file, "config", "", "configuration file (default "+DefaultFile+"); conf.d beside it is read too")
	defaults := Default()
	for _, s := range defaults.settings() {
		flag := fs.VarPF(&flagValue{f, s}, s.key, "", s.usage())
		flag.DefValue = s.value.toml()
		if _, ok := s.value.(scalar[bool]); ok {
			flag.NoOptDefVal = "true"
		}
	}
}

// Sources is the command line together with the environment.
func (f *FlagSet) Sources(environ []string) Sources {
	return Sources{File: f.file, Environ: environ, Flags: f.flags}
}

// ExplainFlag adds the setting that was probably meant to the error about an unknown flag.
func ExplainFlag(err error) error {
	unknown := (*pflag.NotExistError)(nil)
	if !errors.As(err, &unknown) {
		return err
	}
	return fmt.Errorf("%w%s", err, hint(unknown.GetSpecifiedName(), newLoader().keys()))
}

// flagValue is a pflag.Value. It keeps texts only: files and environment come before flags and are read later.
type flagValue struct {
	all *FlagSet
	*setting
}

func (v *flagValue) Set(text string) error {
	v.all.flags = append(v.all.flags, Flag{v.key, text})
	return nil
}

func (v *flagValue) String() string {
	if v.setting == nil { // pflag compares with the zero value
		return ""
	}
	return v.value.toml()
}

func (v *flagValue) Type() string { return v.value.kind() }
