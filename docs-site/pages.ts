/** The pages of the site in the order in which they are read: file in `docs/`, or in capitals in the root, without its ending, and what the sidebar calls it. */
export const PAGES: readonly { readonly text: string; readonly items: readonly (readonly [string, string])[] }[] = [
  {
    text: "Begin",
    items: [
      ["getting-started", "Getting started"],
      ["library", "Library"],
      ["embedded", "Testing without a cluster"],
    ],
  },
  {
    text: "Run",
    items: [
      ["paperclip", "Paperclip"],
      ["upgrading", "Upgrading from the old adapter"],
      ["operations", "Operations"],
      ["clusters", "Clusters"],
      ["scale", "Several servers"],
      ["troubleshooting", "Troubleshooting"],
      ["security", "Security"],
    ],
  },
  {
    text: "Understand",
    items: [
      ["architecture", "Architecture"],
      ["performance", "Performance"],
      ["testing", "How it is tested"],
      ["contributing", "Contributing"],
      ["changelog", "Changelog"],
    ],
  },
];
